package main

import (
	"errors"
	"fmt"
	"strings"

	"gatehouse/configs"
	"gatehouse/providers/authserver"
)

const clientFlagHelp = "ID:SECRET_FILE:REDIRECT of a confidential client with a redirect URI; repeat it for each. " +
	"The client may exchange its ID tokens for identity assertions (ID-JAG), as at a company's provider"

// confidentialClients reads the values of --client.
func confidentialClients(values []string) (clients []authserver.Client, problems []string) {
	for _, value := range values {
		client, err := confidentialClient(value)
		if err != nil {
			problems = append(problems, fmt.Sprintf("--client %q: %v", value, err))
			continue
		}
		clients = append(clients, client)
	}
	return clients, problems
}

func confidentialClient(value string) (authserver.Client, error) {
	parts := strings.SplitN(value, ":", 3) // the redirect URI has colons of its own
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return authserver.Client{}, errors.New("it is not ID:SECRET_FILE:REDIRECT")
	}
	secret, err := configs.ReadSecret(parts[1])
	if err != nil {
		return authserver.Client{}, err
	}
	return authserver.Client{ID: parts[0], Secret: secret, RedirectURIs: []string{parts[2]},
		GrantTypes: []string{"authorization_code", "refresh_token", authserver.GrantTokenExchange}}, nil
}
