# The long forms of the tests that attack the agent; docs/reliability.md says what each shows and how long it takes. Each
# target is one go test command. The servers (versitygw, minio) are looked for on PATH or in $S3APU_E2E_BIN; bash .ci/run
# tools installs them.
export S3APU_E2E := 1
export S3APU_TORTURE := 1
export S3APU_E2E_BIN ?= $(HOME)/.cache/s3apu-ci/bin
SEED ?= 0

.PHONY: torture churn churn-long kills failpoints torn outage renames queue storm bench bench-micro

torture: churn churn-long kills failpoints torn outage renames queue storm

# 50 seeds × 500 operations, or one: make churn SEED=17
churn:
	go test -count=1 -v -timeout 30m -run '^TestChurn$$' ./internal/e2e -seed=$(SEED)

# One seed, 20,000 operations
churn-long:
	go test -count=1 -v -timeout 30m -run '^TestChurn$$' ./internal/e2e -seed=1 -ops=20000

# SIGKILL each second and an endpoint in bad weather, 5 minutes for each seed and server
kills:
	go test -count=1 -v -timeout 60m -run '^TestChurnThroughKillsAndFaults$$' ./internal/e2e -seed=$(SEED)

# SIGKILL at every failpoint, at the first, second and fifth time; at each step of a rename; beside a person's word
failpoints:
	go test -count=1 -v -timeout 60m -run '^(TestKilledBetweenTwoSteps|TestKilledInARename|TestKilledBesideAPerson)$$' ./internal/e2e

# Writers of every kind and a reader, one minute for each server
torn:
	go test -count=1 -v -timeout 30m -run '^TestNoObjectIsTorn$$' ./internal/e2e

# The endpoint away for a minute, in three ways
outage:
	go test -count=1 -v -timeout 30m -run '^TestOutage$$' ./internal/e2e

# Files and folders get other names, up to 5,000 files at a time
renames:
	go test -count=1 -v -timeout 30m -run '^TestRenamesCostNoUpload$$' ./internal/e2e

# The queue's state machine against its model, with crashes
queue:
	go test -count=1 -v -timeout 30m -run '^TestModel$$' ./queue -rapid.checks=2000

# 20,000 files in new folders while the kernel keeps 16 events, and too few watches until there are enough (as root)
storm:
	go test -count=1 -v -timeout 30m -run '^(TestStorm|TestWatchLimit)$$' ./internal/e2e

# The agent against its peers, every work three times, into docs/performance-run.md; some hours. BENCH='-quick' or
# BENCH='-work cold,latency -agent before=PATH -agent after=PATH' say otherwise
bench:
	go run ./bench -out docs/performance-run.md $(BENCH)

# Codec, queue, ledger, walk and worker alone, six times each, for benchstat
bench-micro:
	@go test -run='^$$' -bench=. -benchmem -count=6 -timeout=60m ./protocol ./queue ./feeder ./worker ./internal/bucket
