package bucket

import (
	"net/http"

	"s3apu/protocol"
)

// meaning is what an answer means for what comes next, and what a person can do about it.
type meaning struct {
	kind protocol.Kind
	hint string
}

// Hints that several answers share.
const (
	hintKeys     = "check access_key_id and secret_access_key in [s3]"
	hintPolicy   = "check what the policies of the key and of the bucket allow: s3:PutObject, s3:GetObject, s3:DeleteObject, s3:ListBucket, s3:AbortMultipartUpload"
	hintExpired  = "renew the credentials; they are read again by themselves, and keys written into the configuration need a change there"
	hintClock    = "set this machine's clock (NTP); S3 allows 15 minutes"
	hintRegion   = "set region in [s3] to where the bucket is"
	hintBucket   = "check bucket in [s3]; this program does not create it"
	hintAccount  = "the account cannot use S3 at present: ask its owner"
	hintACL      = `set acl = "" in [s3]: the bucket refuses ACLs`
	hintKMS      = "check the key that encrypts the bucket: is it enabled, and may these credentials use it (kms:GenerateDataKey, kms:Decrypt)?"
	hintFull     = "make room on the server"
	hintQuota    = "the bucket's quota is used up: raise it or delete something"
	hintShadow   = "one name cannot be both a file and a folder on this server: delete or rename one of the two"
	hintEndpoint = "the answer is not that of an S3 server: check endpoint in [s3]"
	hintClass    = "check storage_class in [s3]"
	hintTLS      = "check the certificate of the endpoint; for a server with an authority of its own write a file with that authority's certificate to ca_file in [s3]"
	hintHost     = "check endpoint in [s3], name resolution and the network"
	hintDial     = "check that the server runs and that no firewall is in between"
	hintPlain    = "the endpoint speaks http, not https: check endpoint in [s3]"
	hintStrange  = "an answer that this program does not know: the server's words say more"
	hintNoKeys   = "set S3APU_S3_ACCESS_KEY_ID and S3APU_S3_SECRET_ACCESS_KEY in the environment, or access_key_id and secret_access_key in [s3]; AWS_*, a profile or the role of an instance do as well"
)

// codes says what S3's error codes mean (Amazon S3 API Reference, "Error responses", and the sources of MinIO and
// versitygw for those that AWS does not have). A code goes before the status.
var codes = map[string]meaning{
	"SlowDown":                           {protocol.KindSlow, ""},
	"SlowDownRead":                       {protocol.KindSlow, ""},
	"SlowDownWrite":                      {protocol.KindSlow, ""},
	"ServiceUnavailable":                 {protocol.KindSlow, ""},
	"Busy":                               {protocol.KindSlow, ""},
	"TooManyRequests":                    {protocol.KindSlow, ""},
	"Throttling":                         {protocol.KindSlow, ""},
	"ThrottlingException":                {protocol.KindSlow, ""},
	"RequestLimitExceeded":               {protocol.KindSlow, ""},
	"RequestThrottled":                   {protocol.KindSlow, ""},
	"BandwidthLimitExceeded":             {protocol.KindSlow, ""},
	"KMS.ThrottlingException":            {protocol.KindSlow, ""},
	"XMinioServerNotInitialized":         {protocol.KindTransient, ""},
	"InternalError":                      {protocol.KindTransient, ""},
	"InternalFailure":                    {protocol.KindTransient, ""},
	"RequestTimeout":                     {protocol.KindTransient, ""},
	"IncompleteBody":                     {protocol.KindTransient, ""},
	"OperationAborted":                   {protocol.KindTransient, ""},
	"ConditionalRequestConflict":         {protocol.KindTransient, ""},
	"TemporaryRedirect":                  {protocol.KindTransient, ""},
	"XMinioObjectExistsAsDirectory":      {protocol.KindItem, hintShadow},
	"XMinioParentIsObject":               {protocol.KindItem, hintShadow},
	"ExistingObjectIsDirectory":          {protocol.KindItem, hintShadow},
	"ExistingObjectIsFile":               {protocol.KindItem, hintShadow},
	"ObjectParentIsFile":                 {protocol.KindItem, hintShadow},
	"DirectoryObjectContainsData":        {protocol.KindItem, "a folder object holds no data"},
	"DirectoryNotEmpty":                  {protocol.KindItem, ""},
	"XMinioInvalidObjectName":            {protocol.KindItem, "this server cannot hold that name"},
	"KeyTooLong":                         {protocol.KindItem, "shorten the path: S3 takes 1,024 bytes"},
	"KeyTooLongError":                    {protocol.KindItem, "shorten the path: S3 takes 1,024 bytes"},
	"EntityTooLarge":                     {protocol.KindItem, ""},
	"InvalidObjectState":                 {protocol.KindItem, "the object is archived: restore it first"},
	"MetadataTooLarge":                   {protocol.KindItem, ""},
	"NotImplemented":                     {protocol.KindItem, ""},
	"InvalidArgument":                    {protocol.KindItem, ""},
	"InvalidRequest":                     {protocol.KindItem, ""},
	"MissingContentLength":               {protocol.KindItem, ""},
	"EntityTooSmall":                     {protocol.KindItem, ""},
	"InvalidPart":                        {protocol.KindItem, ""},
	"InvalidPartOrder":                   {protocol.KindItem, ""},
	"InvalidURI":                         {protocol.KindItem, "this server cannot hold that name"},
	"InvalidDigest":                      {protocol.KindItem, ""},
	"MethodNotAllowed":                   {protocol.KindItem, ""},
	"NoSuchKey":                          {protocol.KindNotFound, ""},
	"NoSuchVersion":                      {protocol.KindNotFound, ""},
	"NoSuchUpload":                       {protocol.KindNotFound, ""},
	"PreconditionFailed":                 {protocol.KindChanged, ""},
	"BadDigest":                          {protocol.KindChanged, "the file changed while it was sent"},
	"XAmzContentSHA256Mismatch":          {protocol.KindChanged, "the file changed while it was sent"},
	"XAmzContentChecksumMismatch":        {protocol.KindChanged, "the file changed while it was sent"},
	"NoSuchBucket":                       {protocol.KindTarget, hintBucket},
	"InvalidBucketName":                  {protocol.KindTarget, hintBucket},
	"InvalidBucketState":                 {protocol.KindTarget, hintBucket},
	"PermanentRedirect":                  {protocol.KindTarget, hintRegion},
	"Redirect":                           {protocol.KindTarget, hintRegion},
	"AuthorizationHeaderMalformed":       {protocol.KindTarget, hintRegion},
	"InvalidRegion":                      {protocol.KindTarget, hintRegion},
	"IncorrectEndpoint":                  {protocol.KindTarget, hintRegion},
	"IllegalLocationConstraintException": {protocol.KindTarget, hintRegion},
	"AccessDenied":                       {protocol.KindTarget, hintPolicy},
	"AccessControlListNotSupported":      {protocol.KindTarget, hintACL},
	"AllAccessDisabled":                  {protocol.KindTarget, hintAccount},
	"AccountProblem":                     {protocol.KindTarget, hintAccount},
	"NotSignedUp":                        {protocol.KindTarget, hintAccount},
	"InvalidPayer":                       {protocol.KindTarget, hintAccount},
	"InvalidAccessKeyId":                 {protocol.KindTarget, hintKeys},
	"XAdminUserNotFound":                 {protocol.KindTarget, hintKeys},
	"XAdminAccessDenied":                 {protocol.KindTarget, hintPolicy},
	"XAdminMethodNotSupported":           {protocol.KindTarget, hintEndpoint},
	"InvalidSecurity":                    {protocol.KindTarget, hintKeys},
	"SignatureDoesNotMatch":              {protocol.KindTarget, hintKeys},
	"UnauthorizedAccess":                 {protocol.KindTarget, hintKeys},
	"ExpiredToken":                       {protocol.KindTarget, hintExpired},
	"ExpiredTokenException":              {protocol.KindTarget, hintExpired},
	"InvalidToken":                       {protocol.KindTarget, hintExpired},
	"TokenRefreshRequired":               {protocol.KindTarget, hintExpired},
	"RequestTimeTooSkewed":               {protocol.KindTarget, hintClock},
	"RequestExpired":                     {protocol.KindTarget, hintClock},
	"InvalidStorageClass":                {protocol.KindTarget, hintClass},
	"QuotaExceeded":                      {protocol.KindTarget, hintQuota},
	"XMinioAdminBucketQuotaExceeded":     {protocol.KindTarget, hintQuota},
	"XMinioStorageFull":                  {protocol.KindTarget, hintFull},
	"StorageFull":                        {protocol.KindTarget, hintFull},
}

// statuses says what an answer means whose code says nothing. One without any code of S3 is looked up in bare first.
var statuses = map[int]meaning{
	http.StatusTooManyRequests:     {protocol.KindSlow, ""},
	http.StatusServiceUnavailable:  {protocol.KindSlow, ""},
	http.StatusRequestTimeout:      {protocol.KindTransient, ""},
	http.StatusUnauthorized:        {protocol.KindTarget, hintKeys},
	http.StatusForbidden:           {protocol.KindTarget, hintPolicy},
	http.StatusPaymentRequired:     {protocol.KindTarget, hintAccount},
	http.StatusMovedPermanently:    {protocol.KindTarget, hintRegion},
	http.StatusFound:               {protocol.KindTarget, hintEndpoint},
	http.StatusTemporaryRedirect:   {protocol.KindTarget, hintRegion},
	http.StatusPermanentRedirect:   {protocol.KindTarget, hintRegion},
	http.StatusInsufficientStorage: {protocol.KindTarget, hintFull},
	http.StatusNotFound:            {protocol.KindNotFound, ""},
	http.StatusPreconditionFailed:  {protocol.KindChanged, ""},
	http.StatusNotImplemented:      {protocol.KindItem, ""},
}

// bare is for answers without a code of S3: what a proxy, another kind of server or a HEAD gives. A HEAD has no body
// and so no code; AWS answers 400 to one with an expired token or a wrong region. So these say nothing about one key.
var bare = map[int]meaning{
	http.StatusBadRequest:                    {protocol.KindTarget, hintEndpoint},
	http.StatusUnauthorized:                  {protocol.KindTarget, hintKeys},
	http.StatusProxyAuthRequired:             {protocol.KindTarget, "the proxy wants credentials: check HTTPS_PROXY"},
	http.StatusMethodNotAllowed:              {protocol.KindTarget, hintEndpoint},
	http.StatusNotImplemented:                {protocol.KindTarget, hintEndpoint},
	http.StatusRequestEntityTooLarge:         {protocol.KindItem, "something in front of the server refuses bodies of this size"},
	http.StatusMisdirectedRequest:            {protocol.KindTarget, hintEndpoint},
	http.StatusNetworkAuthenticationRequired: {protocol.KindTarget, hintEndpoint},
}
