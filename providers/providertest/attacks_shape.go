package providertest

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/providers/token"
)

// shapeAttacks are not one compact JWS over one JSON object, or are so only to a lax parser.
func shapeAttacks(o *opened) []attack {
	opaque, malformed, claims := because(token.ReasonOpaque), because(token.ReasonMalformed), because(token.ReasonClaimsMalformed)
	base := o.base
	good := base.token()
	header, payload, signature := cut(good)
	flattened := fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, payload, header, signature)
	general := fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, payload, header, signature)
	smuggled := fmt.Sprintf(`{"x":"a.%s.b","payload":%q,"protected":%q,"signature":%q}`, payload, payload, header, signature)
	// Of a length that leaves bits unused in the last letter.
	oddHeader, oddPayload, oddSignature := cut(base.rawHeader(padded(base.goodHeader()), padded(base.payload())))
	looseHeader, _ := looseEnd(oddHeader)
	loosePayload, _ := looseEnd(oddPayload)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)

	return []attack{
		{"nothing", "", opaque},
		{"an opaque token", "gho_" + strings.Repeat("a", 36), opaque},
		{"an opaque token with other letters", "abc/def+ghi==", opaque},
		{"two parts", header + "." + payload, malformed},
		{"four parts", good + ".x", malformed},
		{"a dot at the end", good + ".", malformed},
		{"a dot in front", "." + good, malformed},
		{"dots only", "..", malformed},
		{"five parts", good + ".." + signature, malformed},
		{"a thousand parts", strings.Repeat("a.", 1000), malformed},
		{"encrypted", encrypted(base.payload()), malformed},
		{"encrypted with more rounds than anybody has time for", Assemble([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAA"}`), []byte("x"), []byte("x")) + ".eA.eA", malformed},
		{"longer than anybody accepts", base.with(m{"x": strings.Repeat("x", 128<<10)}), because(token.ReasonTooLong)},
		{"in the flattened JSON serialisation", flattened, opaque},
		{"in the general JSON serialisation", general, opaque},
		{"in JSON with a compact one for bait", smuggled, opaque},
		{"with a blank behind", good + " ", malformed},
		{"with a blank in front", " " + good, opaque},
		{"with a new line inside", header + "." + payload + ".\n" + signature, malformed},
		{"with a NUL behind", good + "\x00", malformed},
		{"with its scheme", "Bearer " + good, opaque},
		{"with quotes", `"` + good + `"`, opaque},
		{"two tokens", good + "," + good, malformed},
		{"header with one bit more in its last letter", looseHeader + "." + oddPayload + "." + oddSignature, malformed},
		{"payload with one bit more in its last letter", oddHeader + "." + loosePayload + "." + oddSignature, malformed},
		{"header that is empty", "." + payload + "." + signature, malformed},
		{"header that is null", base.rawHeader(`null`, base.payload()), malformed},
		{"header that is a list", base.rawHeader(`[]`, base.payload()), malformed},
		{"header with something behind", base.rawHeader(base.goodHeader()+"{}", base.payload()), malformed},
		{"payload that is empty", header + ".." + signature, claims},
		{"payload null", base.raw(`null`), claims},
		{"payload null that nobody signed", Assemble([]byte(base.goodHeader()), []byte(`null`), []byte("x")), claims},
		{"payload that is a list", base.raw(`[` + base.payload() + `]`), claims},
		{"payload that is a number", base.raw(`1`), claims},
		{"payload that is a string", base.raw(`"alice"`), claims},
		{"payload that is another token", base.rawHeader(string(mustJSON(merged(base.header, m{"cty": "JWT"}))), good), claims},
		{"payload of two documents", base.raw(base.payload() + `{}`), claims},
		{"payload with something behind", base.raw(base.payload() + `x`), claims},
		{"payload with a byte order mark", base.raw("\ufeff" + base.payload()), claims},
		{"payload with single quotes", base.raw(`{'sub':'alice'}`), claims},
		{"payload that is not UTF-8", base.raw(base.members("sub") + ",\"sub\":\"alice\xff\"}"), claims},
		{"payload nested 10,000 times", base.raw(strings.Repeat("[", 10_000)), claims},
		{"claim nested 5,000 times", base.raw(base.members("aud") + `,"aud":` + deep + "}"), claims},
	}
}

// padded returns a JSON object with blanks behind, so that its length is one more than a multiple of three.
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
