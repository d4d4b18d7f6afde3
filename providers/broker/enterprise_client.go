package broker

import (
	"errors"
	"io"
	"os"
	"strings"

	"gatehouse/providers"
)

// enterpriseClient is an entry of the setting enterprise_clients.
type enterpriseClient struct {
	id string
	// secret is empty for a client that is described by the document at its id.
	secret providers.Secret
}

const maxSecretFile = 64 << 10 // bytes

// readEnterpriseClient reads an entry, and the file that it names.
func readEnterpriseClient(entry string) (enterpriseClient, error) {
	if strings.HasPrefix(entry, "https://") && !strings.Contains(entry, "=") {
		return enterpriseClient{id: entry}, nil
	}
	id, path, ok := strings.Cut(entry, "=")
	if !ok || id == "" || path == "" {
		return enterpriseClient{}, errors.New("it is neither ID=FILE nor an https URL")
	}
	secret, err := readSecretFile(path)
	if err == nil && len(secret.Reveal()) < 16 {
		err = errors.New("the secret has fewer than 16 characters")
	}
	return enterpriseClient{id, secret}, err
}

func readSecretFile(path string) (providers.Secret, error) {
	// A pipe or a device would block the start.
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", errors.New("the file cannot be read")
	case !info.Mode().IsRegular():
		return "", errors.New("the file is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return "", errors.New("the file cannot be read")
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxSecretFile))
	if err != nil {
		return "", errors.New("the file cannot be read")
	}
	secret, err := providers.ParseSecret(string(content))
	if err == nil && secret == "" {
		err = errors.New("the file is empty")
	}
	return secret, err
}
