package configs

import (
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gatehouse/providers"
)

// clean removes from the values what editors, shells and dashboards add to them. White space around a list, a
// number, a duration or a switch is dropped. Around text, which may be an identifier or an address, it is
// reported like quotation marks; the later stages see the value that was probably meant, so that the report
// has no problems that follow from this one. Secrets and the lists of package upstream have rules of their own.
func (l *loader) clean(one layer) {
	keys := l.allKeys
	for _, name := range one.sortedKeys() {
		text, isText := one.values[name].(string)
		i := slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })
		if !isText || i < 0 || keys[i].IsSecret() || keys[i].asListType(nil) != nil {
			continue
		}
		switch isTextSetting := keys[i].typ.Kind() == reflect.String; {
		case isTextSetting:
			one.values[name] = l.cleanText(keys[i], text, one.origins[name])
		case one.textual:
			one.values[name] = l.cleanText(keys[i], strings.TrimSpace(text), one.origins[name])
		}
	}
}

// cleanText returns text as it was probably meant, and reports what is wrong with it. JSON may have line ends.
func (l *loader) cleanText(key Key, text, origin string) string {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return text
	}
	trimmed, reason := providers.TrimStray(text)
	if reason == "" {
		return text
	}
	p := Problem{Key: key.Name, Value: quoteValue(text), Origin: origin, Code: providers.CodeInvalidValue,
		Reason: reason, Fix: "did you mean " + showValue(trimmed) + "?"}
	if _, remaining := providers.TrimStray(trimmed); remaining != "" {
		p.Fix = "type the value instead of copying it"
	}
	switch {
	case trimmed == "":
		p.Fix = "remove it"
	case strings.ContainsAny(trimmed, `"'`):
		p.Fix = "remove what is around the value"
	}
	l.addProblem(p)
	return trimmed
}

// cleanList is cleanText for each entry of a list.
func (l *loader) cleanList(key Key, list []string, origin string) []string {
	for i, entry := range list {
		list[i] = l.cleanText(key, entry, origin)
	}
	return list
}

// showValue returns text as a person writes it, in quotation marks only where spaces could be overlooked.
func showValue(text string) string {
	text = providers.RedactURL(text)
	if _, reason := providers.TrimStray(text); reason != "" || strings.ContainsAny(text, ` "'`) {
		return strconv.Quote(text)
	}
	return text
}
