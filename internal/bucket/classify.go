package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"s3apu/protocol"
)

// verdict is a classified error.
type verdict struct {
	meaning
	status      int
	code        string
	text        string // what happened, for people
	unknownHost bool
}

// classify says what err, which a call under ctx ended with, means. It goes by types, codes and status, not by text.
func classify(ctx context.Context, err error) verdict {
	v := verdict{text: plain(err)}
	var ours *protocol.Error
	if errors.As(err, &ours) { // from the body that we were given to send
		v.meaning, v.status, v.code = meaning{ours.Kind, ours.Hint}, ours.Status, ours.Code
		return v
	}
	if answer, ok := answered(err); ok {
		return fromAnswer(v, answer, err)
	}
	if ctx.Err() != nil {
		v.kind, v.text = protocol.KindTransient, ctx.Err().Error()
		return v
	}
	var noKeys *errNoKeys
	var invalid *smithy.InvalidParamsError
	var serial *smithy.SerializationError
	var apiErr smithy.APIError
	switch {
	case errors.As(err, &noKeys):
		v.meaning, v.text = meaning{protocol.KindTarget, hintNoKeys}, noKeys.Error()
	case errors.As(err, &invalid), errors.As(err, &serial):
		v.kind = protocol.KindItem
	case errors.As(err, &apiErr):
		v.code = apiErr.ErrorCode()
		v.meaning = codes[v.code]
	default:
		v.meaning = fromNetwork(err)
		var dns *net.DNSError
		v.unknownHost = errors.As(err, &dns) && dns.IsNotFound
	}
	return v
}

// answered returns the server's answer, if there was one.
func answered(err error) (*awshttp.ResponseError, bool) {
	var answer *awshttp.ResponseError
	// The SDK makes up an answer without a status for requests that never got one.
	ok := errors.As(err, &answer) && answer.HTTPStatusCode() != 0
	return answer, ok
}

// fromAnswer classifies an answer of the server by its code, else by its status.
func fromAnswer(v verdict, answer *awshttp.ResponseError, err error) verdict {
	v.status = answer.HTTPStatusCode()
	var apiErr smithy.APIError
	coded := false
	if errors.As(err, &apiErr) {
		v.code, v.text = apiErr.ErrorCode(), apiErr.ErrorMessage()
		// Where there was none, the SDK makes code and message of the status, or calls it unknown.
		words := http.StatusText(v.status)
		made := v.code == strings.ReplaceAll(words, " ", "") && (v.text == words || v.text == "")
		coded = v.code != "" && v.code != "UnknownError" && !made
	} else if v.status >= 300 {
		v.text = http.StatusText(v.status) // the body is not XML
	}
	if !coded {
		v.code = ""
	}
	m, known := codes[v.code]
	if !known && strings.HasPrefix(v.code, "KMS.") {
		m, known = meaning{protocol.KindTarget, hintKMS}, true
	}
	if !known && !coded {
		m, known = bare[v.status]
		if v.status == http.StatusNotFound && !plausible404(answer) {
			m, known = meaning{protocol.KindTarget, hintEndpoint}, true
		}
	}
	if !known {
		m, known = statuses[v.status]
	}
	if coded && v.status >= 400 && v.status < 500 && (!known || m.kind == protocol.KindNotFound) {
		if _, listed := codes[v.code]; !listed { // it may be said of one key or of all: the worker finds out
			m, known = meaning{protocol.KindTarget, hintStrange}, true
		}
	}
	switch {
	case known:
	case v.status < 300, v.status >= 500: // a success that could not be read: cut off, or not S3's
		m.kind = protocol.KindTransient
	case v.status < 400:
		m = meaning{protocol.KindTarget, hintEndpoint}
	default:
		m.kind = protocol.KindItem
	}
	if v.text == "" || v.text == "UnknownError" {
		v.text = http.StatusText(v.status)
	}
	v.meaning = m
	if m.hint == hintRegion {
		if region := answer.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			v.hint = fmt.Sprintf("the bucket is in %s: set region = %q in [s3]", region, region)
		}
	}
	return v
}

// plausible404 reports whether a 404 without a code may be S3's word on one key: a HEAD has no room for a code, and some
// servers answer so to a DELETE of nothing. Else it comes from something that is not S3.
func plausible404(answer *awshttp.ResponseError) bool {
	resp := answer.Response.Response
	if resp.Request == nil {
		return true
	}
	return resp.Request.Method == http.MethodHead || resp.Request.Method == http.MethodDelete && resp.ContentLength == 0
}

// fromNetwork classifies a request that got no answer.
func fromNetwork(err error) meaning {
	var (
		dns       *net.DNSError
		op        *net.OpError
		errno     syscall.Errno
		certs     *tls.CertificateVerificationError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		netErr    net.Error
	)
	switch {
	case errors.Is(err, errStalled):
		return meaning{protocol.KindTransient, ""}
	case errors.As(err, &dns):
		return meaning{protocol.KindUnreachable, hintHost}
	case errors.As(err, &certs), errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid), errors.As(err, &alert):
		return meaning{protocol.KindUnreachable, hintTLS}
	case errors.As(err, &record):
		return meaning{protocol.KindUnreachable, hintPlain}
	case errors.As(err, &op) && op.Op == "dial":
		return meaning{protocol.KindUnreachable, hintDial}
	case errors.As(err, &errno) && (errno == syscall.ECONNREFUSED || errno == syscall.EHOSTUNREACH || errno == syscall.ENETUNREACH || errno == syscall.ENETDOWN):
		return meaning{protocol.KindUnreachable, hintDial}
	case errors.As(err, &op), errors.As(err, &errno), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return meaning{protocol.KindTransient, ""} // a connection that broke
	case errors.As(err, &netErr) && netErr.Timeout():
		// The one limit of time that is neither a stall nor the dialer's is that of the TLS handshake.
		return meaning{protocol.KindUnreachable, hintTLS}
	}
	var sending interface{ ConnectionError() bool }
	var reading *smithy.DeserializationError
	if errors.As(err, &sending) && sending.ConnectionError() || errors.As(err, &reading) {
		return meaning{protocol.KindTransient, ""} // such as an answer that is not HTTP
	}
	return meaning{protocol.KindUnknown, ""}
}

// plain returns err in short: without what the SDK wraps around it.
func plain(err error) string {
	var op *smithy.OperationError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	var tooMany interface{ ConnectionError() bool }
	if errors.As(err, &tooMany) {
		if e, ok := tooMany.(error); ok && errors.Unwrap(e) != nil {
			err = errors.Unwrap(e)
		}
	}
	return err.Error()
}
