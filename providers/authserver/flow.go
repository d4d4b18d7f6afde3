package authserver

// flow is how people sign in: as alice and bob, or at another provider. It is chosen once, by [New].
type flow struct {
	signIn       Authenticator
	requests     pendingRequests
	guard        *consentGuard
	transactions *transactions
	departure    departure
	pages        *pages
	wording      wording
	nextHost     string   // where people sign in; empty if it is not known
	served       []string // paths
}

// host is implemented by an [Authenticator] that knows where people sign in. The consent page says so.
type host interface {
	// Host returns the host, with a port if it is not the default.
	Host() string
}

func newFlow(config Config) (flow, error) {
	if config.SignIn == nil {
		return newDemoFlow(config)
	}
	return newProviderFlow(config)
}

func newDemoFlow(config Config) (flow, error) {
	f, err := flow{wording: demoWording(), signIn: demo{}, served: Paths()}.withParts(config)
	if err != nil {
		return flow{}, err
	}
	f.guard.forDemo(config.Issuer)
	f.requests, f.departure = newMemoryRequests(config.Keys), byRedirect{}
	return f, nil
}

func newProviderFlow(config Config) (flow, error) {
	f, err := flow{wording: providerWording(), signIn: config.SignIn, served: ProviderPaths()}.withParts(config)
	if err != nil {
		return flow{}, err
	}
	f.guard.forProvider(config.Issuer)
	f.requests, f.departure = newSealedRequests(config.Keys, config.Issuer, f.transactions.fits), byPage{f.pages}
	if known, ok := config.SignIn.(host); ok {
		f.nextHost = known.Host()
	}
	return f, nil
}

// withParts adds what both flows have.
func (f flow) withParts(config Config) (flow, error) {
	var err error
	if f.pages, err = newPages(config.Issuer, f.wording); err != nil {
		return flow{}, err
	}
	if f.guard, err = newConsentGuard(config.Issuer, config.Keys); err != nil {
		return flow{}, err
	}
	f.transactions = newTransactions(config.Keys, config.Issuer)
	return f, nil
}
