package configs

import "gatehouse/providers"

// CodeDoc documents one code of problems.
type CodeDoc struct {
	Code    providers.Code
	Meaning string
}

// Codes is the closed list of the codes that a [Problem] can have.
func Codes() []CodeDoc {
	return []CodeDoc{
		{providers.CodeMissing, "a required setting is not set, or a key or section has no value"},
		{providers.CodeInvalidType, "the value has another type: text for a list, a section for a value"},
		{providers.CodeInvalidValue, "the value is malformed or not acceptable"},
		{providers.CodeUnknownValue, "the setting takes one of several names, and the value is none of them"},
		{providers.CodeOutOfRange, "the number or duration is too small or too large"},
		{providers.CodeNotAllowed, "the value is well-formed but reserved or never accepted"},
		{providers.CodeInsecure, "the server would be open to clients or tokens that it must refuse"},
		{providers.CodeConflict, "the value contradicts another setting, or the setting is set twice"},
		{providers.CodeNoEffect, "the setting has no effect together with the others"},
		{providers.CodeUnknownKey, "there is no setting with this name"},
		{providers.CodeWrongKind, "the setting belongs to another `provider.kind`"},
		{providers.CodeUnreadableFile, "a profile, `.env` or another named file cannot be read, or a secret is empty"},
		{providers.CodeInvalidSyntax, "the profile, `.env` or another named file cannot be parsed"},
		{providers.CodeNeedsRestart, "a reload cannot change the setting"},
		{providers.CodeUnusable, "a reload found that the provider gives no keys or does not answer"},
		{providers.CodeInternal, "a defect of gatehouse"},
	}
}
