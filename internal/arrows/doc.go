// Package arrows keeps the plan of the house. It holds no code: its tests read every Go file of the module, those for
// other systems too, and fail with a sentence that names the file and the rule when an import points upwards or
// sideways, a package has a name that says nothing, a folder stands where none belongs, or a file has grown too long.
//
// The plan itself is the table in plan_test.go; docs/design says why it is as it is. A new room is one row there.
package arrows
