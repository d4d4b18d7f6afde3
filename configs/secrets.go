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

// SecretFile is a file that a secret of the effective configuration was read from.
type SecretFile struct {
	// Key is the setting or variable that names the file.
	Key, Path string
}

// SecretFiles returns the files that secrets were read from.
func (c *Config) SecretFiles() []SecretFile {
	var files []SecretFile
	for _, key := range c.keys {
		path, isFromFile := c.paths[key.Name]
		switch {
		case isFromFile && key.IsFile:
			files = append(files, SecretFile{key.Name, path})
		case isFromFile:
			files = append(files, SecretFile{key.Name + fileSuffix, path})
		}
	}
	return append(files, c.OTLP.KeyFiles...)
}

// readSecrets replaces the path in each *_file key of a secret by the content of the file, so that a secret
// need not be in a profile or in the environment. It checks the characters of all secrets.
func (l layer) readSecrets(keys []Key, read readFileFunc) Problems {
	var problems Problems
	for _, key := range keys {
		if !key.IsSecret() {
			continue
		}
		if key.IsFile {
			problems = append(problems, l.readNamedFile(key, read)...)
			continue
		}
		problems = append(problems, l.checkQuotes(key)...)
		problems = append(problems, l.readSecret(key, read)...)
		problems = append(problems, l.parseSecret(key)...)
	}
	return problems
}

// checkQuotes reports a secret in quotation marks: files of variables that a shell does not read, such as those
// of docker, keep them. A secret in a file may have them.
func (l layer) checkQuotes(key Key) Problems {
	text, _ := l.values[key.Name].(string)
	text = strings.TrimSpace(text)
	if len(text) < 2 || text[0] != text[len(text)-1] || strings.IndexByte(`"'`, text[0]) < 0 {
		return nil
	}
	return Problems{{Key: key.Name, Value: redacted, Origin: l.origins[key.Name],
		Code:   providers.CodeInvalidValue,
		Reason: "it has quotes around it, which belong to the value",
		Fix:    "remove them; a secret that has them belongs in a file: " + l.spellFile(key.Name)}}
}

// parseSecret replaces a secret by its value without white space at the end.
func (l layer) parseSecret(key Key) Problems {
	text, isText := l.values[key.Name].(string)
	if !isText {
		return nil // reported as a value of another type, or not set
	}
	secret, err := providers.ParseSecret(text)
	if err == nil && secret == "" && text != "" {
		err = errors.New("it has nothing but white space")
	}
	l.values[key.Name] = secret.Reveal()
	if err == nil {
		return nil
	}
	return Problems{{Key: key.Name, Value: redacted, Origin: l.origins[key.Name],
		Code:   providers.CodeInvalidValue,
		Reason: err.Error(), Fix: "copy the secret from the provider again, or create another one"}}
}

// spellFile returns how the key of the file with a secret is written in this source.
func (l layer) spellFile(key string) string {
	if name := l.spell(key); strings.HasPrefix(name, envPrefix) {
		return name + strings.ToUpper(fileSuffix)
	}
	return l.spell(key) + fileSuffix
}

func (l layer) readSecret(key Key, read readFileFunc) Problems {
	name := key.Name + fileSuffix
	value, ok := l.values[name]
	if !ok {
		return nil
	}
	origin := l.origins[name]
	delete(l.values, name)
	path, isText := value.(string)
	if _, isSet := l.values[key.Name]; isSet {
		return Problems{{Key: name, Origin: origin, Code: providers.CodeConflict,
			Reason: l.spell(key.Name) + " is also set", Fix: "keep one of the two"}}
	}
	if !isText {
		return Problems{{Key: name, Origin: origin, Code: providers.CodeInvalidType,
			Reason: "it is " + describe(value) + ", not the name of a file",
			Fix:    "name the file with the secret in it, in quotes"}}
	}
	secret, err := readSecretFile(path, read)
	if err != nil {
		shown := quoteValue(path)
		if !strings.ContainsRune(path, filepath.Separator) {
			shown = redacted // it may be the secret, under the wrong key
		}
		return Problems{{Key: name, Origin: origin, Value: shown, Code: providers.CodeUnreadableFile,
			Reason: err.Error(), Fix: "name a file that the user who runs gatehouse can read, with the secret in it; " +
				"for the secret itself use " + l.spell(key.Name)}}
	}
	l.set(key.Name, secret, origin+" (file "+path+")")
	l.paths[key.Name] = path
	return nil
}

// readNamedFile replaces the path in a key that only names a file by the content of the file. The section checks the
// content.
func (l layer) readNamedFile(key Key, read readFileFunc) Problems {
	path, isText := l.values[key.Name].(string)
	if !isText {
		return nil // reported as a value of another type, or not set
	}
	origin := l.origins[key.Name]
	content, err := readTextFile("the file", path, read)
	if err != nil {
		delete(l.values, key.Name)
		shown := quoteValue(path)
		if !strings.ContainsRune(path, filepath.Separator) {
			shown = redacted // it may be the secret itself
		}
		return Problems{{Key: key.Name, Origin: origin, Value: shown, Code: providers.CodeUnreadableFile,
			Reason: err.Error(), Fix: "name a file that the user who runs gatehouse can read"}}
	}
	l.set(key.Name, content, origin+" (file "+path+")")
	l.paths[key.Name] = path
	return nil
}

// ReadSecret returns the secret in a file. An empty file is an error: an empty secret would turn a check off.
func ReadSecret(path string) (string, error) {
	text, err := readSecretFile(path, os.ReadFile)
	if err != nil {
		return "", err
	}
	secret, err := providers.ParseSecret(text)
	return secret.Reveal(), err
}

func readSecretFile(path string, read readFileFunc) (string, error) {
	return readTextFile("the secret", path, read)
}

// readTextFile returns the text of a file without byte order mark and without white space at its end.
func readTextFile(what, path string, read readFileFunc) (string, error) {
	content, err := read(path)
	if err != nil {
		return "", errors.New(what + " cannot be read: " + fileReason(path, err))
	}
	text, err := DecodeText(content)
	if err != nil {
		return "", err
	}
	if text = strings.TrimRight(text, " \t\r\n"); text == "" {
		return "", errors.New("the file is empty")
	}
	return text, nil
}
