package bucket

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// answering is a transport that answers everything with one body.
type answering string

func (a answering) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/xml"}},
		Body: io.NopCloser(strings.NewReader(string(a))), Request: r}, nil
}

// bySDK reads a page as the SDK does, and with it what the reader made of it first; nil: nothing.
func bySDK(t *testing.T, body string) (sdk, ours *listed, err error) {
	t.Helper()
	api := s3.New(s3.Options{Region: "eu-central-1", BaseEndpoint: aws.String("http://127.0.0.1:1"), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""), HTTPClient: answering(body), RetryMaxAttempts: 1})
	out, err := api.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("some-bucket")})
	if err == nil {
		sdk, err = fromSDK(out)
	}
	p := pageReader{body: []byte(body)}
	if p.parse() {
		ours = p.result()
	}
	return sdk, ours, err
}

const (
	pageHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">`
	pageTail = `</ListBucketResult>`
)

func TestPagesAreReadAsTheSDKReadsThem(t *testing.T) {
	item := func(key string) string {
		return "<Contents><Key>" + key + `</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;0123&#34;</ETag>` +
			`<Size>17</Size><Owner xsi:type="a>b"><ID>x</ID><DisplayName></DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents>`
	}
	coded := "<EncodingType>url</EncodingType>"
	more := "<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b==</NextContinuationToken>"
	for name, c := range map[string]struct {
		body  string
		plain bool // the reader has to know it
	}{
		"Empty":      {pageHead + pageTail, true},
		"NoProlog":   {"<ListBucketResult>" + item("a") + pageTail, true},
		"Two":        {pageHead + "<IsTruncated>false</IsTruncated>" + item("a") + "\n  " + item("b") + pageTail + "\n", true},
		"More":       {pageHead + more + item("a") + pageTail, true},
		"Coded":      {pageHead + item("a%2Fb+c%C3%BC/%0A") + coded + pageTail, true},
		"NotCoded":   {pageHead + item("a%2Fb+c") + pageTail, true},
		"BadCode":    {pageHead + item("a%zz") + coded + pageTail, false},
		"HalfCode":   {pageHead + item("a%2") + coded + pageTail, false},
		"Entities":   {pageHead + item("&lt;&amp;&gt;&apos;&quot;&#252;&#xfc;") + pageTail, true},
		"Foreign":    {pageHead + item("&nbsp;") + pageTail, false},
		"Return":     {pageHead + item("a\r\nb") + pageTail, false},
		"Utf8":       {pageHead + item("  ü\t") + pageTail, true},
		"NotUtf8":    {pageHead + item("\xff") + pageTail, false},
		"Prefixes":   {pageHead + item("a") + "<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>" + item("c") + pageTail, true},
		"Capitals":   {pageHead + strings.ReplaceAll(item("a"), "Contents", "contents") + pageTail, false},
		"CapitalKey": {pageHead + strings.ReplaceAll(item("a"), "Key>", "KEY>") + pageTail, false},
		"NS":         {`<s:ListBucketResult xmlns:s="x"><s:Contents><s:Key>a</s:Key></s:Contents></s:ListBucketResult>`, false},
		"CDATA":      {pageHead + item("<![CDATA[a]]>") + pageTail, false},
		"Comment":    {pageHead + "<!-- " + item("a") + " -->" + pageTail, false},
		"Nested":     {pageHead + "<Other>" + item("a") + "</Other>" + item("b") + pageTail, true},
		"Latin1":     {`<?xml version="1.0" encoding="ISO-8859-1"?><ListBucketResult/>`, false},
		"OtherTime":  {pageHead + strings.Replace(item("a"), "2026-01-02T03:04:05.678Z", "2026-01-02T03:04:05+02:00", 1) + pageTail, false},
		"NoTime":     {pageHead + "<Contents><Key>a</Key></Contents>" + pageTail, true},
		"NoKey":      {pageHead + "<Contents><Size>1</Size></Contents>" + pageTail, false},
		"Weak":       {pageHead + strings.Replace(item("a"), "&quot;0123", "W/&quot;0123", 1) + pageTail, true},
		"BadSize":    {pageHead + strings.Replace(item("a"), "17", "x", 1) + pageTail, false},
		"BadTrunc":   {pageHead + "<IsTruncated/>" + pageTail, false},
		"Html":       {"<!doctype html><html><body>Please log in<br></body></html>", false},
		"OtherRoot":  {"<Error><Code>x</Code></Error>", false},
		"Nothing":    {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			want, got, err := bySDK(t, c.body)
			if c.plain != (got != nil) {
				t.Fatalf("read by us: %v", got)
			}
			if got != nil && (err != nil || !samePage(got, want)) {
				t.Fatalf("read as\n%+v\nand by the SDK as\n%+v %v", got, want, err)
			}
			if !c.plain {
				return
			}
			for n := range strings.TrimSpace(c.body) { // what broke off is never a page
				p := pageReader{body: []byte(c.body[:n])}
				if p.parse() {
					t.Fatalf("%q was taken for a page", c.body[:n])
				}
			}
		})
	}
}

// samePage compares pages; that there is nothing may be said in two ways.
func samePage(a, b *listed) bool {
	same := a.more == b.more && a.token == b.token && len(a.objects) == len(b.objects) && len(a.folders) == len(b.folders)
	for i := 0; same && i < len(a.objects); i++ {
		x, y := a.objects[i], b.objects[i]
		same = x.Modified.Equal(y.Modified)
		x.Modified, y.Modified = time.Time{}, time.Time{}
		same = same && reflect.DeepEqual(x, y)
	}
	for i := 0; same && i < len(a.folders); i++ {
		same = a.folders[i] == b.folders[i]
	}
	return same
}

func FuzzPage(f *testing.F) {
	f.Add(pageHead + "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>" +
		"<Contents><Key>a&amp;%20</Key><LastModified>2026-01-02T03:04:05Z</LastModified><ETag>&quot;e&quot;</ETag><Size>1</Size></Contents>" +
		"<CommonPrefixes><Prefix>b/</Prefix></CommonPrefixes>" + pageTail)
	f.Fuzz(func(t *testing.T, body string) {
		want, got, err := bySDK(t, body)
		if got != nil && err == nil && !samePage(got, want) {
			t.Fatalf("read as\n%+v\nand by the SDK as\n%+v", got, want)
		}
	})
}

// BenchmarkPage reads a page of 1,000 keys.
func BenchmarkPage(b *testing.B) {
	var s strings.Builder
	s.WriteString(pageHead + "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>")
	for i := range 1000 {
		fmt.Fprintf(&s, "<Contents><Key>inbox/folder-%02d/file-%06d.dat</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"+
			"<ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>", i/100, i, i)
	}
	s.WriteString(pageTail)
	api := s3.New(s3.Options{Region: "eu-central-1", BaseEndpoint: aws.String("http://127.0.0.1:1"), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""), HTTPClient: answering(s.String())})
	for _, ours := range []bool{false, true} {
		b.Run(map[bool]string{false: "SDK", true: "Ours"}[ours], func(b *testing.B) {
			b.ReportAllocs()
			var p pageReader
			for b.Loop() {
				var opts []func(*s3.Options)
				if ours {
					opts = append(opts, s3.WithAPIOptions(p.option))
				}
				out, err := api.ListObjectsV2(b.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("some-bucket")}, opts...)
				if err != nil || !ours && len(out.Contents) != 1000 || ours && (p.page == nil || len(p.page.objects) != 1000) {
					b.Fatal(err)
				}
			}
		})
	}
}
