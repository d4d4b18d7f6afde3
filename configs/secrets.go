package configs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/providers"
)

// fileSuffix is what a key has that names the file with the secret.
const fileSuffix = "_file"

// readSecrets replaces the path in each *_file key of a secret by the content of the file, so that a secret
// need not be in a profile or in the environment.
func (l layer) readSecrets(keys []Key) Problems {
	var problems Problems
	for _, key := range keys {
		name := key.Name + fileSuffix
		value, ok := l.values[name]
		if !key.IsSecret() || !ok {
			continue
		}
		origin := l.origins[name]
		delete(l.values, name)
		path, isText := value.(string)
		if _, isSet := l.values[key.Name]; isSet {
			problems = append(problems, Problem{Key: name, Origin: origin, Code: providers.CodeConflict,
				Reason: l.spell(key.Name) + " is also set", Fix: "keep one of the two"})
			continue
		}
		if !isText {
			problems = append(problems, Problem{Key: name, Origin: origin, Code: providers.CodeInvalidType,
				Reason: "it is " + describe(value) + ", not the name of a file",
				Fix:    "name the file with the secret in it, in quotes"})
			continue
		}
		secret, err := ReadSecret(path)
		if err != nil {
			shown := quoteValue(path)
			if !strings.ContainsRune(path, filepath.Separator) {
				shown = redacted // it may be the secret, under the wrong key
			}
			problems = append(problems, Problem{Key: name, Value: shown, Origin: origin,
				Code: providers.CodeUnreadableFile, Reason: err.Error(),
				Fix: "name a file that the user who runs gatehouse can read, with the secret in it; " +
					"for the secret itself use " + l.spell(key.Name)})
			continue
		}
		l.set(key.Name, secret, origin+" (file "+path+")")
	}
	return problems
}

// ReadSecret returns the content of a file without line ends at its end, which editors add. An empty file is
// an error: an empty secret would turn a check off.
func ReadSecret(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", errors.New("the secret cannot be read: " + reasonOf(err))
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if strings.TrimSpace(secret) == "" {
		return "", errors.New("the file is empty")
	}
	return secret, nil
}
