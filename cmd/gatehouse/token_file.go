package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/configs"
	"gatehouse/providers"
)

// maxInspectedBytes limits what is read. It is far above the size of any token, so that a token that is too
// long is explained as such.
const maxInspectedBytes = 1 << 20

// readToken reads a token from file, or from stdin if file is empty. Text that is not exactly one token is an
// error that describes the text, so that no verdict is about a token that was not read.
func readToken(file string, stdin io.Reader) (string, error) {
	input := stdin
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("the token cannot be read: %w", err)
		}
		defer f.Close()
		input = f
	}
	content, err := io.ReadAll(io.LimitReader(input, maxInspectedBytes))
	if err != nil {
		return "", fmt.Errorf("the token cannot be read: %w", err)
	}
	text, err := decodeText(content)
	if err != nil {
		return "", err
	}
	return extractToken(text)
}

// decodeText decodes what editors and shells write. Windows PowerShell 5.1 writes UTF-16 when it redirects
// output to a file. Without a byte order mark, the first character shows the order: no token begins with
// another character than an ASCII one.
func decodeText(content []byte) (string, error) {
	if len(content) >= 2 {
		switch {
		case content[0] != 0 && content[1] == 0:
			content = append([]byte{0xFF, 0xFE}, content...)
		case content[0] == 0 && content[1] != 0:
			content = append([]byte{0xFE, 0xFF}, content...)
		}
	}
	text, err := configs.DecodeText(content)
	if err != nil {
		return "", fmt.Errorf("the input is not text: %w", err)
	}
	return text, nil
}

// extractToken returns the only token in text: alone, as a header, in quotes, wrapped over lines, or as the
// access_token of a token response.
func extractToken(text string) (string, error) {
	text = trimToken(text)
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		var err error
		if text, err = tokenInResponse(text); err != nil {
			return "", err
		}
		text = trimToken(text)
	}
	if text == "" {
		return "", errors.New("there is no token: pass it on standard input or with --token-file")
	}
	pieces := strings.Fields(text)
	if len(pieces) > 1 {
		joined, err := unwrap(pieces)
		if err != nil {
			return "", err
		}
		text = joined
	}
	// RFC 6750, section 2.1: no token has other characters. JSON Web Tokens, and most others, have fewer.
	if i := strings.IndexFunc(text, func(r rune) bool { return r < 0x21 || r > 0x7E }); i >= 0 {
		r, _ := utf8.DecodeRuneInString(text[i:])
		return "", fmt.Errorf("the input has the character %U at position %d, which is in no token: it may come "+
			"from a terminal, a chat or a document; copy the token again", r, i+1)
	}
	return text, nil
}

// tokenInResponse returns the access token of a token response (RFC 6749, section 5.1). The errors do not
// repeat its content.
func tokenInResponse(text string) (string, error) {
	var response struct {
		AccessToken  string `json:"access_token"`
		IDToken      string `json:"id_token"`
		RefreshToken string `json:"refresh_token"`
		Error        string `json:"error"`
		Payload      string `json:"payload"`
		Ciphertext   string `json:"ciphertext"`
	}
	if err := json.Unmarshal([]byte(text), &response); err != nil {
		return "", errors.New("the input begins like JSON, and is no JSON object with an access_token: pass the " +
			"token response as a whole, or the access token alone")
	}
	const noToken = "the input is a JSON object without access_token"
	switch {
	case response.AccessToken != "":
		return response.AccessToken, nil
	case response.Error != "":
		return "", errors.New("the input is an error response, " + providers.Quote(response.Error) +
			": the provider issued no token; sign in again")
	case response.Payload != "", response.Ciphertext != "":
		return "", errors.New("the input is a token in JSON serialization (RFC 7515, section 7.2), which no " +
			"bearer token is: pass the compact one, with three parts and two dots")
	case response.IDToken != "":
		return "", errors.New(noToken + ", with an id_token: request the scopes and the resource of this " +
			"server, so that the provider issues an access token")
	case response.RefreshToken != "":
		return "", errors.New(noToken + ", with a refresh_token: send that to the token endpoint to get an access token")
	}
	return "", errors.New(noToken + ": it is no token response; pass the access token alone")
}

// unwrap joins a JWT that is wrapped over lines. Other pieces are not joined: they may be several tokens.
func unwrap(pieces []string) (string, error) {
	joined := strings.Join(pieces, "")
	dots := strings.Count(joined, ".")
	isOne := strings.HasPrefix(joined, "ey") && (dots == 2 || dots == 4) &&
		!strings.ContainsFunc(joined, func(r rune) bool { return r != '.' && !isBase64URL(r) }) &&
		!slices.ContainsFunc(pieces, isWholeJWT)
	if isOne {
		return joined, nil
	}
	return "", fmt.Errorf("the input has %d pieces with blanks or line ends between them: it is more than "+
		"one token, or text around one, or a token that is wrapped; pass one token on one line", len(pieces))
}

func isBase64URL(r rune) bool {
	return 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_'
}

// isWholeJWT reports whether piece is a signed JWT by itself: three parts, and a signature as long as those
// of the usual algorithms and key sizes.
func isWholeJWT(piece string) bool {
	parts := strings.Split(piece, ".")
	if len(parts) != 3 || !strings.HasPrefix(piece, "ey") {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	return err == nil && slices.Contains([]int{64, 96, 128, 132, 256, 384, 512}, len(signature))
}

// trimToken removes what is often copied together with a token: blanks, quotes, "Authorization:" and
// "Bearer".
func trimToken(text string) string {
	const quotes = "\"'`“”‘’«»"
	for {
		before := text
		text = strings.Trim(strings.TrimSpace(text), quotes)
		for _, prefix := range []string{"authorization:", "bearer "} {
			if rest, ok := cutPrefixFold(text, prefix); ok {
				text = rest
			}
		}
		if text == before {
			return text
		}
	}
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
