package providers

import (
	"errors"
	"fmt"
	"strconv"
)

// Reason is why a request was refused: a closed list, shared by the log, the statistics and the documentation. Callers
// never see it; they get the dull text of the status.
type Reason string

// Reasons that concern the credentials of a request.
const (
	NoCredentials        Reason = "no_credentials"        // no Authorization header
	CredentialsMalformed Reason = "credentials_malformed" // not one well-formed Bearer credential (RFC 6750, section 2.1)
)

// Reasons that concern the token.
const (
	TokenTooLong      Reason = "token_too_long"
	TokenOpaque       Reason = "token_opaque"        // not a JWT at all
	TokenMalformed    Reason = "token_malformed"     // not a compact JWS with a JSON object inside (RFC 7515, section 7.1)
	HeaderRefused     Reason = "header_refused"      // crit, b64 or another header that changes the meaning of the token
	AlgorithmRefused  Reason = "algorithm_refused"   // alg is not on the list (RFC 8725, section 3.1)
	TypeRefused       Reason = "type_refused"        // typ is not an access token's (RFC 9068, section 4)
	ClaimsMalformed   Reason = "claims_malformed"    // a claim of the wrong type, twice, or spelled in another case
	IssuerMismatch    Reason = "issuer_mismatch"     // iss is not the configured issuer
	AudienceMismatch  Reason = "audience_mismatch"   // aud does not name this resource (RFC 8707)
	TokenExpired      Reason = "token_expired"       // exp is past
	ExpiryMissing     Reason = "expiry_missing"      // no exp
	TokenNotYetValid  Reason = "token_not_yet_valid" // nbf or iat is ahead
	SubjectMissing    Reason = "subject_missing"     // no sub
	IDToken           Reason = "id_token"            // an ID token, which says who signed in and opens nothing
	SenderConstrained Reason = "sender_constrained"  // bound to a key (cnf) that a plain bearer request does not prove
	KeyUnknown        Reason = "key_unknown"         // the issuer publishes no such key
	SignatureInvalid  Reason = "signature_invalid"   // the signature does not hold
	KeysUnavailable   Reason = "keys_unavailable"    // the issuer's keys could not be fetched: not the token's fault
)

// Reasons that concern what the caller may do, and from where.
const (
	InsufficientScope Reason = "insufficient_scope" // the token lacks a scope that the operation needs
	OriginRefused     Reason = "origin_refused"     // a web page of a foreign origin
	HostRefused       Reason = "host_refused"       // a Host header that is not ours: DNS rebinding, or a proxy that rewrites it
)

// Refusal is an error that knows its reason. Its text is for the log.
type Refusal struct {
	Reason Reason
	// Detail says what was expected and what was found, without the token. What came from the token is quoted and cut.
	Detail string

	kind error
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + r.Detail
}

// Unwrap returns ErrInvalidToken or ErrUnavailable.
func (r *Refusal) Unwrap() error { return r.kind }

// ReasonOf returns the reason that err carries, or "" if it carries none.
func ReasonOf(err error) Reason {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return ""
}

func refuse(reason Reason, format string, args ...any) error {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...), kind: ErrInvalidToken}
}

func unavailable(format string, args ...any) error {
	return &Refusal{Reason: KeysUnavailable, Detail: fmt.Sprintf(format, args...), kind: ErrUnavailable}
}

// quoteLimit bounds what an unverified token can write into the log.
const quoteLimit = 200

// quote makes a value from a token fit for the log: escaped, and no longer than quoteLimit bytes.
func quote(s string) string {
	if len(s) > quoteLimit {
		return strconv.Quote(s[:quoteLimit]) + "..."
	}
	return strconv.Quote(s)
}
