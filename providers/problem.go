package providers

// Problem is one thing that is wrong with the settings of a section.
type Problem struct {
	// Key is the setting, relative to its section.
	Key string
	// Code classifies the problem.
	Code Code
	// Reason says what is wrong, and Fix what to do, each on one line and without secrets.
	Reason, Fix string
}

// Code classifies a problem of the configuration. The list is closed; configs/README.md documents it.
type Code string

// The codes.
const (
	CodeInvalidValue   Code = "invalid_value"
	CodeInvalidType    Code = "invalid_type"
	CodeUnknownValue   Code = "unknown_value"
	CodeOutOfRange     Code = "out_of_range"
	CodeMissing        Code = "missing"
	CodeConflict       Code = "conflict"
	CodeNoEffect       Code = "no_effect"
	CodeInsecure       Code = "insecure"
	CodeNotAllowed     Code = "not_allowed"
	CodeUnknownKey     Code = "unknown_key"
	CodeWrongKind      Code = "wrong_kind"
	CodeUnreadableFile Code = "unreadable_file"
	CodeInvalidSyntax  Code = "invalid_syntax"
	CodeNeedsRestart   Code = "needs_restart"
	CodeUnusable       Code = "unusable"
	CodeInternal       Code = "internal"
)
