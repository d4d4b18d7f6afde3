package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"gatehouse/cmd/gatehouse/app"
	"gatehouse/cmd/gatehouse/telemetry"
	"gatehouse/configs"
)

// listenOperator listens on operator.listen, or returns nil if it is not set.
func listenOperator(cfg *configs.Config) (net.Listener, error) {
	if !cfg.Operator.IsOn() {
		return nil, nil
	}
	ln, err := net.Listen("tcp", cfg.Operator.Listen)
	if err != nil {
		return nil, errors.New(operatorListenError(cfg, err))
	}
	return ln, nil
}

// operatorListenError describes why operator.listen cannot be listened on.
func operatorListenError(cfg *configs.Config, err error) string {
	const key = "operator.listen"
	text := listenError(key+", "+effective(cfg, key).Origin, cfg.Operator.Listen, err)
	if free := freeAddressInstead(cfg.Operator.Listen, err); free != "" {
		text += fmt.Sprintf(", such as --%s=%s (that port is free)", key, free)
	}
	return text
}

// startOperator serves operators on ln, which is nil if operator.listen is not set. stop must be called.
func startOperator(
	cfg *configs.Config, a *app.App, ln net.Listener, exported exporters, logger *slog.Logger,
) (stop func(), err error) {
	if ln == nil {
		return func() {}, nil
	}
	operator, err := telemetry.NewOperator(telemetry.OperatorConfig{
		Hosts: cfg.Operator.Hosts, Status: a.Status, Metrics: exported.Metrics, Reasons: configs.Reasons(), Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	operator.Start(ln)
	logger.Info("serving operators", "listen", ln.Addr().String())
	return operator.Stop, nil
}

// operatorURL returns the address of the status page on this computer, or "" if there is none.
func operatorURL(ln net.Listener) string {
	if ln == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return ""
	}
	if net.ParseIP(host).IsUnspecified() { // every address of this computer
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}
