# webhook_outbox: make, make install and make installcheck are PGXS's own.
# The targets below run a script each and need neither PGXS nor a compiler to
# start with: the scripts install what is missing.
#
#   make demo    watch events being delivered, retried and redelivered
#   make check   every test, on throw-away servers
#   make lint    the rules that the code keeps
#   make bench   speed
#   make fault   what breaks: kills at random moments, promotions, full disks
#   make fuzz    what strangers send, made up by a machine

SCRIPTED := demo check lint bench fault fuzz
OTHER := $(filter-out $(SCRIPTED),$(MAKECMDGOALS))

ifneq (,$(filter $(SCRIPTED),$(MAKECMDGOALS)))

# PGXS has a check of its own, which refuses: so it is not read in at all here,
# and other goals on the same command line get a make of their own.
.PHONY: $(SCRIPTED) $(OTHER)
.NOTPARALLEL:

demo:
	@test/demo/run.sh
check:
	@test/check.sh
lint:
	@test/check.sh lint
bench:
	@test/bench/run.sh
fault:
	@test/fault/run.sh
fuzz:
	@test/fuzz/run.sh
$(OTHER):
	@$(MAKE) $@

else

MODULE_big = webhook_outbox
OBJS := $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

EXTENSION = webhook_outbox
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(EXTENSION).control)
SCRIPT := sql/$(EXTENSION)--$(EXTVERSION).sql
DATA_built = $(SCRIPT)
DATA := $(sort $(wildcard sql/$(EXTENSION)--*--*.sql))

# What the server calls by name is marked PGDLLEXPORT, which is empty before
# PostgreSQL 16; nothing else leaves the library.
PG_CPPFLAGS = -DWO_VERSION=\"$(EXTVERSION)\" \
	'-DPGDLLEXPORT=__attribute__((visibility("default")))'
PG_CFLAGS = -fvisibility=hidden
SHLIB_LINK = -lcurl -lssl -lcrypto

# pg_regress prefers ./sql/T.sql to test/sql/T.sql: keep sql/ free of tests.
REGRESS := $(basename $(notdir $(sort $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test
ISOLATION := $(basename $(notdir $(sort $(wildcard test/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test --outputdir=.
TAP_TESTS = 1
PROVE_TESTS = test/t/[0-9]*.pl

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

PG_PROVE_FLAGS += -I $(srcdir)/test/t

PARTS := $(sort $(wildcard sql/$(EXTENSION)/*.sql))
$(SCRIPT): $(PARTS) $(EXTENSION).control
	cat $(PARTS) >$@

$(OBJS): $(sort $(wildcard src/*.h)) $(EXTENSION).control

endif
