package scrape

// RaceEnabled is for the tests outside of the package.
const RaceEnabled = raceEnabled

// Protobuf is a text exposition in protobuf.
var Protobuf = protobuf
