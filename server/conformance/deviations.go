package conformance

// deviations lists, by variant and case, where a variant is known not to do what the design says, and
// why. Only cases that go into details of a protocol may be here. The suite prints every entry, and an
// entry that is no longer true fails it.
var deviations = map[string]map[string]string{}
