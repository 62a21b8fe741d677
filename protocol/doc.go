// Package protocol is the vocabulary that every other room speaks: what S3 should be made to do
// ([Instruction], [Verb], [Key]), an instruction in somebody's hand ([Delivery], [Result], [Outcome]),
// what the bucket holds because of us ([Entry]), what S3 says it holds ([Object]), and one error type
// with operation, object and kind ([Error]).
//
// It also owns the socket: the line codec of S3 APU (2010), the server over a [Handler], and the client.
// It imports the standard library only and keeps no state between calls.
package protocol
