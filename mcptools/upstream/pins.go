package upstream

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxPinsBytes bounds a file of pins. A reload reads no larger file.
const maxPinsBytes = 1 << 20

// Pins are the reviewed definitions of an upstream's tools: the file that upstreams.NAME.pins names. With pins, the
// server offers these definitions, whatever the upstream says.
type Pins struct {
	// Server is the name and the version with which the upstream introduced itself. It is for the reader.
	Server string `json:"server"`
	// Tools are sorted by name.
	Tools []Pin `json:"tools"`
}

// Pin is one tool.
type Pin struct {
	// SHA256 is the [Digest] of the definition that the upstream sent. It stays when a reviewer edits Definition, which
	// overrides what the upstream says, for example its description.
	SHA256 string `json:"sha256"`
	// Definition is what clients see, with the name that the upstream uses.
	Definition json.RawMessage `json:"definition"`
}

// Name returns the name of the tool, as the upstream calls it.
func (p Pin) Name() string { return nameOf(p.Definition) }

func nameOf(definition json.RawMessage) string {
	var d struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(definition, &d) // without a name it is ""
	return d.Name
}

// NewPins returns the pins of definitions, which are JSON objects with a name.
func NewPins(server string, definitions []json.RawMessage) (*Pins, error) {
	pins := &Pins{Server: server, Tools: []Pin{}}
	for _, definition := range definitions {
		digest, err := Digest(definition)
		if err != nil {
			return nil, fmt.Errorf("the definition of %q: %w", nameOf(definition), err)
		}
		pins.Tools = append(pins.Tools, Pin{SHA256: digest, Definition: definition})
	}
	slices.SortFunc(pins.Tools, func(a, b Pin) int { return cmp.Compare(a.Name(), b.Name()) })
	return pins, nil
}

// Digest returns the SHA-256 of a definition in hexadecimal. The order of members and the spaces between them do not
// count, and neither do the ways to escape a character; the spelling of numbers does.
func Digest(definition json.RawMessage) (string, error) {
	decoder := json.NewDecoder(bytes.NewReader(definition))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return "", err
	}
	canonical, err := json.Marshal(value) // sorts the members
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}

// Digest returns the SHA-256 of the pins in hexadecimal.
func (p *Pins) Digest() string {
	sum := sha256.New()
	for _, pin := range p.Tools {
		fmt.Fprintf(sum, "%s %q\n", pin.SHA256, pin.Definition)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Tool returns the pin of the tool that the upstream calls name.
func (p *Pins) Tool(name string) (Pin, bool) {
	i := slices.IndexFunc(p.Tools, func(pin Pin) bool { return pin.Name() == name })
	if i < 0 {
		return Pin{}, false
	}
	return p.Tools[i], true
}

// Format returns the file: JSON with one member on each line, so that a diff shows what changed, and with invisible
// characters escaped.
func (p *Pins) Format() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(p); err != nil {
		return nil, err
	}
	text := escapeInvisible(b.Bytes())
	if len(text) > maxPinsBytes {
		return nil, fmt.Errorf("the definitions have %d bytes, and a file of pins has at most %d: offer fewer tools",
			len(text), maxPinsBytes)
	}
	return text, nil
}

// ParsePins parses a file of pins.
func ParsePins(content []byte) (*Pins, error) {
	if len(content) > maxPinsBytes {
		return nil, fmt.Errorf("it has more than %d bytes", maxPinsBytes)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var pins Pins
	if err := decoder.Decode(&pins); err != nil {
		return nil, fmt.Errorf("it is no file of pins: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	for i, pin := range pins.Tools {
		sum, err := hex.DecodeString(pin.SHA256)
		switch {
		case pin.Name() == "":
			return nil, fmt.Errorf("tool %d has no definition with a name", i+1)
		case err != nil || len(sum) != sha256.Size:
			return nil, fmt.Errorf("the sha256 of %q is not 64 hexadecimal digits", pin.Name())
		case i > 0 && pins.Tools[i-1].Name() >= pin.Name():
			return nil, fmt.Errorf("%q is not after %q in the order of names", pin.Name(), pins.Tools[i-1].Name())
		}
	}
	return &pins, nil
}
