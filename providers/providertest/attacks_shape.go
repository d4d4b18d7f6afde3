package providertest

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/token"
)

// malformedAttacks are not one compact JWS over one JSON object, or only for a lax parser.
func malformedAttacks(o *openAdapter) []attack {
	opaque, malformed, claims := oneOf(token.ReasonOpaque), oneOf(token.ReasonMalformed),
		oneOf(token.ReasonClaimsMalformed)
	base := o.base
	good := base.token()
	header, payload, signature := splitToken(good)
	flattened := fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, payload, header, signature)
	general := fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, payload, header,
		signature)
	smuggled := fmt.Sprintf(`{"x":"a.%s.b","payload":%q,"protected":%q,"signature":%q}`, payload, payload,
		header, signature)
	// The length leaves unused bits in the last character.
	oddHeader, oddPayload, oddSignature := splitToken(base.withBytes(padded(base.goodHeader()),
		padded(base.payload())))
	looseHeader, _ := setUnusedBits(oddHeader)
	loosePayload, _ := setUnusedBits(oddPayload)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)

	return []attack{
		{"empty", "", opaque},
		{"an opaque token", "gho_" + strings.Repeat("a", 36), opaque},
		{"an opaque token with other characters", "abc/def+ghi==", opaque},
		{"two parts", header + "." + payload, malformed},
		{"four parts", good + ".x", malformed},
		{"a trailing dot", good + ".", malformed},
		{"a leading dot", "." + good, malformed},
		{"dots only", "..", malformed},
		{"five parts", good + ".." + signature, malformed},
		{"a thousand parts", strings.Repeat("a.", 1000), malformed},
		{"encrypted", encrypted(base.payload()), malformed},
		{"encrypted with a huge PBES2 iteration count",
			Assemble([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAA"}`), []byte("x"),
				[]byte("x")) + ".eA.eA", malformed},
		{"too long", base.withClaims(m{"x": strings.Repeat("x", 128<<10)}), oneOf(token.ReasonTooLong)},
		{"in the flattened JSON serialisation", flattened, opaque},
		{"in the general JSON serialisation", general, opaque},
		{"in JSON that contains a compact one", smuggled, opaque},
		{"with a trailing space", good + " ", malformed},
		{"with a leading space", " " + good, opaque},
		{"with a new line inside", header + "." + payload + ".\n" + signature, malformed},
		{"with a trailing NUL", good + "\x00", malformed},
		{"with the Bearer scheme", "Bearer " + good, opaque},
		{"with quotes", `"` + good + `"`, opaque},
		{"two tokens", good + "," + good, malformed},
		{"header with an unused bit set", looseHeader + "." + oddPayload + "." + oddSignature, malformed},
		{"payload with an unused bit set", oddHeader + "." + loosePayload + "." + oddSignature, malformed},
		{"header that is empty", "." + payload + "." + signature, malformed},
		{"header that is null", base.withBytes(`null`, base.payload()), malformed},
		{"header that is a list", base.withBytes(`[]`, base.payload()), malformed},
		{"header with trailing data", base.withBytes(base.goodHeader()+"{}", base.payload()), malformed},
		{"payload that is empty", header + ".." + signature, claims},
		{"payload null", base.withPayload(`null`), claims},
		{"unsigned payload null", Assemble([]byte(base.goodHeader()), []byte(`null`), []byte("x")), claims},
		{"payload that is a list", base.withPayload(`[` + base.payload() + `]`), claims},
		{"payload that is a number", base.withPayload(`1`), claims},
		{"payload that is a string", base.withPayload(`"alice"`), claims},
		{"payload that is another token", base.withBytes(string(mustJSON(merged(base.header, m{"cty": "JWT"}))),
			good), claims},
		{"payload of two documents", base.withPayload(base.payload() + `{}`), claims},
		{"payload with trailing data", base.withPayload(base.payload() + `x`), claims},
		{"payload with a byte order mark", base.withPayload("\ufeff" + base.payload()), claims},
		{"payload with single quotes", base.withPayload(`{'sub':'alice'}`), claims},
		{"payload that is not UTF-8", base.withPayload(base.claimMembers("sub") + ",\"sub\":\"alice\xff\"}"),
			claims},
		{"payload nested 10,000 times", base.withPayload(strings.Repeat("[", 10_000)), claims},
		{"claim nested 5,000 times", base.withPayload(base.claimMembers("aud") + `,"aud":` + deep + "}"), claims},
	}
}

// padded appends spaces to a JSON object, so that its length is one more than a multiple of three.
func padded(object string) string {
	for len(object)%3 != 1 {
		object += " "
	}
	return object
}

func encrypted(payload string) string {
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	encrypter, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: key}, nil)
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	jwe, err := encrypter.Encrypt([]byte(payload))
	if err != nil {
		panic(fmt.Sprintf("providertest: %v", err))
	}
	return must(jwe.CompactSerialize())
}
