package configs

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gatehouse/providers"
)

// wrongType says why a value does not have the type of its key, and what to write instead.
type wrongType struct{ reason, fix string }

// convert converts value to the type of key. In textual layers lists are separated by commas. A profile has
// types, and a value of another type is an error, never converted.
func convert(value any, key Key, textual bool) (any, *wrongType) {
	if key.typ == reflect.TypeFor[time.Duration]() {
		return toDuration(value, key)
	}
	switch key.typ.Kind() {
	case reflect.Slice:
		return toList(value, key, textual)
	case reflect.Int:
		return toInt(value, key, textual)
	case reflect.Float64:
		return toFloat(value, key, textual)
	case reflect.Bool:
		return toBool(value, textual)
	default:
		return toText(value, key)
	}
}

func toList(value any, key Key, textual bool) (any, *wrongType) {
	text, isText := value.(string)
	if special := key.asListType(nil); special != nil && isText {
		if _, acceptsText := special.(textList); !textual && !acceptsText {
			return nil, &wrongType{"it is text, not a list", "write a list: " + special.Example()}
		}
		list, err := special.ParseText(text)
		if err != nil {
			return nil, &wrongType{err.Error(), "write it like this: " + special.Example()}
		}
		return list, nil
	}
	if textual {
		if strings.HasPrefix(text, "[") {
			return nil, &wrongType{"it has the brackets of a profile", "write the entries with commas: a,b"}
		}
		return splitList(text), nil
	}
	items, isList := value.([]any)
	switch {
	case isText:
		return nil, &wrongType{"it is text, not a list",
			"write it in brackets: [" + strconv.Quote(providers.RedactURL(text)) + "]"}
	case !isList:
		return nil, &wrongType{"it is " + describe(value) + ", not a list", `write a list of strings: ["a", "b"]`}
	}
	list := []string{}
	for i, item := range items {
		s, isText := item.(string)
		if !isText {
			fix := "write it in quotes"
			if item == nil {
				fix = "remove it"
			}
			return nil, &wrongType{fmt.Sprintf("entry %d of the list is %s, not text", i+1, describe(item)), fix}
		}
		list = append(list, s)
	}
	return list, nil
}

func splitList(s string) []string {
	list := []string{}
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func toDuration(value any, key Key) (any, *wrongType) {
	text, isText := value.(string)
	if isText {
		if d, err := time.ParseDuration(text); err == nil {
			return d, nil
		}
	}
	reason := "it is not a duration"
	if !isText {
		reason = "it is " + describe(value) + ", not a duration"
	}
	number := text
	if n, isInt := value.(int); isInt {
		number = strconv.Itoa(n)
	}
	if _, err := strconv.ParseUint(number, 10, 31); err == nil {
		return nil, &wrongType{reason, "add a unit: " + number + "s, " + number + "m or " + number + "h"}
	}
	return nil, &wrongType{reason, "write a number and a unit, such as " + key.DefaultText()}
}

func toInt(value any, key Key, textual bool) (any, *wrongType) {
	if n, isInt := value.(int); isInt {
		return n, nil
	}
	text, isText := value.(string)
	n, err := strconv.Atoi(text)
	switch {
	case err == nil && textual:
		return n, nil
	case err == nil:
		return nil, &wrongType{"it is text, not a number", "write it without quotes: " + text}
	}
	reason := "it is not a whole number"
	if !isText {
		reason = "it is " + describe(value) + ", not a whole number"
	}
	return nil, &wrongType{reason, "write digits only, such as " + key.DefaultText()}
}

func toFloat(value any, key Key, textual bool) (any, *wrongType) {
	switch n := value.(type) {
	case float64:
		return n, nil
	case int:
		return float64(n), nil
	}
	text, isText := value.(string)
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err == nil && textual:
		return n, nil
	case err == nil:
		return nil, &wrongType{"it is text, not a number", "write it without quotes: " + text}
	}
	reason := "it is not a number"
	if !isText {
		reason = "it is " + describe(value) + ", not a number"
	}
	return nil, &wrongType{reason, "write a number, such as " + key.DefaultText()}
}

func toBool(value any, textual bool) (any, *wrongType) {
	if b, isBool := value.(bool); isBool {
		return b, nil
	}
	text, isText := value.(string)
	b, err := strconv.ParseBool(text)
	switch {
	case err == nil && textual:
		return b, nil
	case err == nil:
		return nil, &wrongType{"it is text, neither true nor false", fmt.Sprintf("write it without quotes: %t", b)}
	}
	reason := "it is neither true nor false"
	if !isText {
		reason = "it is " + describe(value) + ", neither true nor false"
	}
	return nil, &wrongType{reason, "write true or false"}
}

func toText(value any, key Key) (any, *wrongType) {
	switch value := value.(type) {
	case string:
		return value, nil
	case []any:
		return nil, &wrongType{"it is a list, not text", "write one value, without brackets"}
	default:
		fix := "write it in quotes"
		if example := key.DefaultText(); example != "" {
			fix = "write text, such as " + example
		}
		return nil, &wrongType{"it is " + describe(value) + ", not text", fix}
	}
}

// describe returns the type of a value in a profile, with an article.
func describe(value any) string {
	switch value.(type) {
	case nil:
		return "empty"
	case string:
		return "text"
	case bool:
		return "true or false"
	case int, int64, uint64, float64:
		return "a number"
	case []any:
		return "a list"
	default:
		return "a section"
	}
}
