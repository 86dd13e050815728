// Package exposition knows what an exposition is: its formats, how to ask for them
// ([AcceptHeader]), how to tell one ([MediaType], [Judge]), and how to read no more of it
// than somebody wants ([Reader]).
//
// Rules need one series in a hundred, and are known before the first scrape. So a
// filter for each format looks at an exposition before Prometheus's parser does. It
// hands on what a rule might select, in a bounded window, and skips the rest unread:
//
//	window.go                 the part of a body that is in memory
//	text.go, scan.go          lines of the text formats
//	proto.go, proto_count.go  families of protobuf
//	preselect.go              labels of single series
//
// The parser is the judge of what is right. A filter leaves out only what the parser
// would read as series that nobody wants, and counts it as the parser would.
package exposition
