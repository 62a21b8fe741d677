// Package bucket is one S3 bucket as the rest of the program sees it. It is the only importer of the AWS SDK and speaks
// [s3apu/protocol] types only.
//
// It owns the HTTP transport, the signing, the endpoint, the credentials and their renewal, and the one table that says
// what an answer of S3 means for what comes next (classify.go).
//
// It promises: a nil error means that S3 confirmed the operation, with an ETag where one belongs to the answer; what
// was sent has the sum given by the caller (MD5, of parts also CRC-64), or the call fails; a 200 whose body is an error is an error; every
// error is a [*protocol.Error] with Op, Object and Kind, and never holds a secret; once a method has returned, the
// body that it was given is not read any more. All methods may be called at the same time.
//
// It fails by returning. A call makes at most a few attempts within about a second and leaves all longer waiting to
// the queue; a 503 is returned at once. A connection on which nothing moves is given up after a while ([Config.Stall]).
// There is no limit on the whole duration of a request, as large bodies on slow lines are legitimate.
package bucket
