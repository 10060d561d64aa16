# `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test e2e check bench bench-revocations soak

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

demo: ## start an authorization server, an upstream and the gateway, and watch them work
	@scripts/setup demo
	@cargo run -- demo

test: ## every test: unit, integration, end to end against a real authorization server
	@scripts/test

e2e: ## only the end-to-end tests
	@scripts/test e2e

check: ## formatting and lints
	@scripts/check

bench: ## the price of the gate: CPU per request beside a bare pingora proxy
	@scripts/bench

bench-revocations: ## the price of asking whether something was revoked
	@scripts/setup demo
	@cargo bench --no-default-features --bench revocations

soak: ## ten minutes at saturation: no error, flat memory; and 500 kills under a stream of revocations
	@scripts/soak
