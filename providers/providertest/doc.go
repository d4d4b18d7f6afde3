// Package providertest tests provider adapters: a list of named rules ([Rules]), and an issuer under the
// test's control ([Issuer]) that signs valid and hostile tokens, rotates its keys and fails on demand.
//
// An adapter, in this module or in another one, is tested by filling in a [Harness]:
//
//	func TestAcme(t *testing.T) {
//		providertest.Run(t, func(t testing.TB) *providertest.Subject {
//			issuer := providertest.NewIssuer(t)
//			settings := acme.Settings{Issuer: issuer.URL(), KeyPolicy: issuer.KeyPolicy}
//			return &providertest.Subject{
//				Issuer:   issuer,
//				Open:     settings.Open,
//				Resource: resource,
//				Good:     []providertest.Variety{{Name: "an access token of RFC 9068"}},
//			}
//		})
//	}
//
// It is for providers whose access tokens are signed JWTs. The README of this folder is the manual.
package providertest
