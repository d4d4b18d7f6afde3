// Package providertest is the proof that a provider keeps its promise: a list of named rules that every adapter must obey
// ([Rules]), and an issuer under the test's control ([Issuer]) that makes good tokens and hostile ones, rotates its keys
// and breaks down on demand.
//
// An adapter, in this module or outside, is held against the rules by filling in a [Harness]:
//
//	func TestAcme(t *testing.T) {
//		providertest.Run(t, func(t testing.TB) *providertest.Subject {
//			issuer := providertest.NewIssuer(t)
//			return &providertest.Subject{
//				Issuer:   issuer,
//				Open:     acme.Settings{Issuer: issuer.URL(), KeyPolicy: issuer.KeyPolicy}.Open,
//				Resource: resource,
//				Good:     []providertest.Variety{{Name: "an access token as RFC 9068 has it"}},
//			}
//		})
//	}
//
// It is for providers whose access tokens are signed JWTs.
package providertest
