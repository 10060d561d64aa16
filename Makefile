# `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test e2e browsers fuzz check build bench bench-gateway bench-core bench-revocations soak

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26

demo: ## start an authorization server, an upstream and the gateway, and watch them work
	@scripts/setup demo
	@cargo run -- demo

test: ## every test: unit, integration, end to end against a real authorization server
	@scripts/test

e2e: ## only the end-to-end tests
	@scripts/test e2e

browsers: ## the end-to-end tests that need a browser, in Firefox ESR, and stories in WebKitGTK (some ten minutes; not part of `make test`)
	@scripts/test browsers

fuzz: ## what reads foreign bytes, each target for TOLLGATE_FUZZ_SECONDS (60)
	@scripts/setup demo
	@BOLERO_RANDOM_ITERATIONS=1000000000000 BOLERO_RANDOM_TEST_TIME_MS=$${TOLLGATE_FUZZ_SECONDS:-60}000 \
		cargo test --no-default-features --test fuzz

check: ## formatting and lints
	@scripts/check

build: ## the gateway as fast as it gets, guided by a profile: target/guided/tollgate (20 minutes)
	@scripts/build

bench: ## the price of the gate beside nginx, HAProxy, Apache and a bare proxy, in one run (half an hour, the first time an hour)
	@scripts/bench

bench-gateway: ## the same beside the bare proxy alone
	@scripts/bench-gateway

bench-core: ## the price of each step between socket and socket, beside a signature
	@scripts/setup demo
	@cargo bench --no-default-features --bench core --bench admit --bench allocations

bench-revocations: ## the price of asking whether something was revoked
	@scripts/setup demo
	@cargo bench --no-default-features --bench revocations

soak: ## ten minutes at saturation: no error, flat memory; and 500 kills under a stream of revocations
	@scripts/soak
