# SPDX-License-Identifier: Apache-2.0
# One Makefile, not recursive except to build the same tree with other flags. `make help` lists the targets.
#   B=build      the build folder          SAN=address,undefined   a sanitizer set (give it its own B)
#   V=1          show whole commands       WERROR=1                warnings are errors
VERSION = 0.1.0
B ?= build
ifeq ($(origin CC),default)
CC = gcc
endif
PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
S ?= 60
CYCLES ?= 15
SAN ?=
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j2
endif
Q = $(if $(V),,@)
say = @$(if $(V),:,printf '  %-5s %s\n' '$(1)' '$(2)')

# ---- flags
# lineshaft starts fast and links little; lineshaft-node carries what node kinds need besides, lineshaft-artifact what sends
# bytes, lineshaft-top what draws on a terminal.
PKGS = libczmq libzmq msgpack yaml-0.1 jansson libxxhash
TOP_PKGS = ncursesw
NODE_PKGS = libmicrohttpd libcurl libcrypto libpq sqlite3 expat zlib
WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual \
       -Wwrite-strings -Wformat=2 -Wvla -Wundef $(if $(WERROR),-Werror) \
       $(if $(findstring clang,$(CC)),-Wno-format-nonliteral,-Wno-format-truncation)
HARDEN = $(if $(SAN),,-D_FORTIFY_SOURCE=2 -fstack-protector-strong)
OPT ?= -O2 -g $(HARDEN)
CFLAGS += -std=gnu11 -D_GNU_SOURCE -I. -I$(B) $(OPT) $(WARN) -fno-strict-aliasing -pthread \
          $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer) \
          -DLINESHAFT_VERSION='"$(VERSION)"'
LDFLAGS += -Wl,--as-needed
LDLIBS = $(shell pkg-config --libs $(PKGS)) -pthread -lm
NODE_LDLIBS = $(shell pkg-config --libs $(NODE_PKGS))
TOP_LDLIBS = $(shell pkg-config --libs $(TOP_PKGS))

# ---- what there is: by wildcard
obj = $(patsubst %.c,$(B)/%.o,$(1))
LIB_OBJ = $(call obj,$(wildcard lib/*.c)) $(B)/builtin_schemas.o
PLAN_OBJ = $(call obj,$(wildcard yaml/*.c workflow/*.c))
TABLE_OBJ = $(call obj,$(wildcard nodes/kinds.c nodes/*/kind.c nodes/inference/ngram*.c))
MAIN_OBJ = $(B)/cli/main.o $(B)/nodes/main.o
CLI_OBJ = $(LIB_OBJ) $(PLAN_OBJ) $(TABLE_OBJ) $(call obj,$(wildcard broker/*.c broker/log/*.c topology/*.c) \
          $(wildcard cli/*.c cli/up/*.c cli/tail/*.c cli/workflows/*.c))
ARTIFACT_OBJ = $(call obj,$(wildcard cli/artifact/*.c) cli/bus.c cli/options.c cli/render.c cli/run_report.c cli/table.c \
               $(wildcard nodes/kit/http_client*.c))
TOP_OBJ = $(call obj,$(wildcard cli/top/*.c) cli/bus.c cli/options.c cli/render.c cli/table.c)
NODE_OBJ = $(call obj,$(wildcard nodes/*.c nodes/*/*.c)) $(B)/page.o
ALL_OBJ = $(sort $(CLI_OBJ) $(NODE_OBJ) $(filter-out $(B)/cli/top/main.o $(B)/cli/top/screen.o,$(TOP_OBJ)))
UNIT = $(patsubst %.c,$(B)/%,$(wildcard tests/unit/*_test.c))
TESTERS = $(patsubst %.c,$(B)/%,$(wildcard tests/crash/*.c tests/wire/*.c tests/compat/*.c tests/nodes/*.c tests/e2e/*.c))
MOCK = $(B)/tests/mock/openai
FUZZ = $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/*_fuzz.c))
BENCH = $(patsubst %.c,$(B)/%,$(wildcard tests/bench/client_*.c tests/bench/*_bench.c tests/bench/zmq_server.c))

all: $(B)/lineshaft $(B)/lineshaft-node $(B)/lineshaft-artifact $(B)/lineshaft-top $(B)/liblineshaft.a ## build the programs and the client library

$(B)/lineshaft: $(CLI_OBJ)
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(B)/lineshaft-node: $(NODE_OBJ) $(B)/lib.a
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) $(NODE_LDLIBS) -o $@

$(B)/lineshaft-artifact: $(ARTIFACT_OBJ) $(B)/lib.a
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) $(NODE_LDLIBS) -o $@

$(B)/lineshaft-top: $(TOP_OBJ) $(B)/lib.a
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) $(TOP_LDLIBS) -o $@

# The installed library: one object in which only the public names (ls_...) are visible.
$(B)/liblineshaft.a: $(LIB_OBJ)
	$(call say,lib,$@)
	$(Q)ld -r $^ -o $(B)/liblineshaft.o
	$(Q)objcopy --wildcard --keep-global-symbol='ls_*' $(B)/liblineshaft.o
	$(Q)rm -f $@ && ar rcs $@ $(B)/liblineshaft.o

# Of the library, and of what reads workflows, a node takes what it needs.
$(B)/lib.a: $(LIB_OBJ) $(PLAN_OBJ)
	$(Q)rm -f $@ && ar rcsT $@ $^

# Everything but main(), for tests: the linker takes from it what a test needs.
$(B)/all.a: $(filter-out $(MAIN_OBJ),$(ALL_OBJ))
	$(Q)rm -f $@ && ar rcsT $@ $^

$(B)/%.o: %.c $(B)/flags
	$(call say,cc,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/builtin_schemas.o: $(B)/builtin_schemas.c $(B)/flags
	$(call say,cc,$<)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/builtin_schemas.c: schemas/embed.sh $(wildcard schemas/*.yaml) schemas
	$(call say,gen,$@)
	$(Q)mkdir -p $(@D)
	$(Q)schemas/embed.sh > $@.new && mv $@.new $@

# The pages with their libraries from npm, as bytes in the program.
PAGE = $(wildcard $(foreach ending,html js css svg,nodes/ingress/pages/*/*.$(ending)))
PAGE_LIBS = $(addprefix $(B)/page/node_modules/,marked/lib/marked.esm.js dompurify/dist/purify.es.mjs uplot/dist/uPlot.esm.js uplot/dist/uPlot.min.css)

$(PAGE_LIBS) &: nodes/ingress/pages/package.json nodes/ingress/pages/package-lock.json
	$(call say,npm,$(B)/page)
	$(Q)mkdir -p $(B)/page && cp $^ $(B)/page/ && cd $(B)/page && npm ci --silent --no-audit --no-fund --ignore-scripts
	$(Q)touch $(PAGE_LIBS)

$(B)/page.S: nodes/ingress/embed.sh $(PAGE) $(PAGE_LIBS)
	$(call say,gen,$@)
	$(Q)nodes/ingress/embed.sh $(PAGE) $(PAGE_LIBS) > $@.new && mv $@.new $@

$(B)/page.o: $(B)/page.S
	$(Q)$(CC) -c $< -o $@

# Changes when the flags do, so that nothing stays built the old way.
FLAGS = $(CC) $(CFLAGS) $(LDFLAGS)
$(B)/flags: always
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(FLAGS))' | cmp -s - $@ || { pkg-config --exists --print-errors $(PKGS) $(NODE_PKGS) $(TOP_PKGS) || \
	  { echo 'Libraries are missing: deploy/setup build installs them.' >&2; exit 1; }; \
	  echo '$(subst ','\'',$(FLAGS))' > $@; }

# ---- to use it
demo: ## install what is missing, build, show the quick start at work, end everything it started
	@deploy/setup build demo
	@$(MAKE) --no-print-directory all
	@PYTHON=$(PYTHON) LINESHAFT=$(abspath $(B)/lineshaft) tests/e2e/demo.sh

run: ## config/quickstart.yaml in the foreground, and the first model trained; Ctrl-C ends it
	@deploy/setup build demo
	@$(MAKE) --no-print-directory all
	@exec deploy/quickstart $(B)/lineshaft

install: all ## DESTDIR= PREFIX=
	install -D -m 755 -t $(DESTDIR)$(PREFIX)/bin $(B)/lineshaft $(B)/lineshaft-node $(B)/lineshaft-artifact $(B)/lineshaft-top
	install -D -m 644 lib/lineshaft.h $(DESTDIR)$(PREFIX)/include/lineshaft.h
	install -D -m 644 $(B)/liblineshaft.a $(DESTDIR)$(PREFIX)/lib/liblineshaft.a
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/share/doc/lineshaft
	printf '%s\n' 'Name: lineshaft' 'Description: client of the lineshaft event bus' 'Version: $(VERSION)' \
	  'Requires: $(PKGS)' 'Cflags: -I$(PREFIX)/include' 'Libs: -L$(PREFIX)/lib -llineshaft -pthread' \
	  > $(DESTDIR)$(PREFIX)/lib/pkgconfig/lineshaft.pc
	cp -R LICENSE $(wildcard README.md CHANGELOG.md) docs config $(DESTDIR)$(PREFIX)/share/doc/lineshaft/

dist: ## the committed tree as build/lineshaft-VERSION.tar.gz
	@mkdir -p $(B)
	git archive --prefix=lineshaft-$(VERSION)/ HEAD | gzip -9n > $(B)/lineshaft-$(VERSION).tar.gz

# ---- to test it: tests/run runs suites one after the other and closes with "N passed, N failed"
RUN = PYTHON=$(PYTHON) tests/run --build $(B)
WIRE = $(if $(wildcard tests/wire/*_test.py),wire)
SUITES ?= unit check $(WIRE) compat nodes e2e crash browser

test: ## every test that needs only Debian and npm (SUITES="unit wire" for some)
	@deploy/setup build test
	@$(MAKE) --no-print-directory test-programs
	@$(RUN) $(SUITES)

test-programs: all $(UNIT) $(TESTERS) $(MOCK)

fuzz-programs: $(FUZZ)
bench-programs: all $(BENCH) $(MOCK)

$(UNIT): MORE = -lcmocka
$(FUZZ): MORE = -fsanitize=fuzzer
$(filter %_nats,$(BENCH)): MORE = -lnats
$(filter %_redis,$(BENCH)): MORE = -lhiredis
$(filter $(B)/tests/bench/client_%,$(BENCH)): $(B)/tests/bench/client.o
$(UNIT) $(TESTERS) $(FUZZ) $(BENCH): $(B)/%: $(B)/%.o $(B)/all.a
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(MORE) $(LDLIBS) $(NODE_LDLIBS) -o $@

$(MOCK): $(call obj,$(wildcard tests/mock/*.c)) # a judge of its own: nothing of ours in it
	$(call say,link,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ -ljansson -o $@

asan: ## the suites under the address and undefined-behaviour sanitizers
	@deploy/setup build test
	@$(MAKE) --no-print-directory B=$(B)-asan SAN=address,undefined OPT="-O1 -g" WERROR= test-programs
	@PYTHON=$(PYTHON) tests/run --build $(B)-asan unit check $(WIRE) compat nodes e2e-short

tsan: ## what has threads (log, client, node runner) and the first broker tests under the thread sanitizer
	@deploy/setup build test
	@$(MAKE) --no-print-directory B=$(B)-tsan SAN=thread OPT="-O1 -g" WERROR= test-programs
	@PYTHON=$(PYTHON) tests/run --build $(B)-tsan unit-threads compat-short

crash: ## kill -9 and torn writes against the log, the short run
	@deploy/setup build test
	@$(MAKE) --no-print-directory test-programs
	@$(RUN) crash

chaos: ## CYCLES= kills and restarts of the whole thing
	@deploy/setup build test
	@$(MAKE) --no-print-directory test-programs
	@CHAOS_CYCLES=$(CYCLES) $(RUN) chaos

fuzz: ## S= seconds of each fuzzer
	@deploy/setup build test fuzz
	@$(MAKE) --no-print-directory B=$(B)-fuzz CC=clang SAN=fuzzer-no-link,address,undefined \
	  OPT="-O1 -g" WERROR= fuzz-programs
	@PYTHON=$(PYTHON) tests/run --build $(B)-fuzz --seconds $(S) fuzz

cover: ## line coverage of the suites, in build-cover/index.html
	@deploy/setup build test cover
	@$(MAKE) --no-print-directory B=$(B)-cover OPT="-O0 -g --coverage" WERROR= test-programs
	@find $(B)-cover -name '*.gcda' -delete
	@PYTHON=$(PYTHON) tests/run --build $(B)-cover unit check $(WIRE) compat e2e-short
	@gcovr --root . --object-directory $(B)-cover --exclude tests/ --html-details $(B)-cover/index.html --print-summary

interop: ## against what users run, from PyPI and by Go (INTEROP=short: the newest clients alone)
	@deploy/setup build test interop
	@$(MAKE) --no-print-directory test-programs
	@B=$(B) tests/run-interop

bench: ## ratios to a ceiling or a peer at equal durability (BENCH_ARGS=--short)
	@deploy/setup build bench
	@$(MAKE) --no-print-directory bench-programs
	@$(PYTHON) tests/bench/run.py --build $(B) $(BENCH_ARGS)
	@$(PYTHON) tests/bench/chat.py --build $(B) $(filter --short --write,$(BENCH_ARGS))
	@$(PYTHON) tests/bench/work.py --build $(B) $(filter --short --write,$(BENCH_ARGS))
	@$(PYTHON) tests/bench/footprint.py --build $(B) $(filter --short --write,$(BENCH_ARGS))

footprint: ## memory of the quick start's idle processes, sizes of the executables, first byte of pub and tail
	@deploy/setup build demo
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/bench/footprint.py --build $(B) $(BENCH_ARGS)

# What writes the documents, and what of the build is included by headers.
DOCUMENTERS = $(B)/lineshaft $(B)/builtin_schemas.c $(B)/tests/unit/topology_document_test $(B)/tests/unit/workflow_document_test

lint: ## form, limits and arrows between folders; exceptions with reasons in tests/lint/allow
	@deploy/setup build lint
	@$(MAKE) --no-print-directory $(DOCUMENTERS)
	@B=$(B) CC=$(CC) $(PYTHON) tests/lint/lint.py

documents: ## write the documents that are made from tables and schemas
	@deploy/setup build
	@$(MAKE) --no-print-directory $(DOCUMENTERS)
	@B=$(B) $(PYTHON) tests/lint/documents.py

pictures: ## make the pictures of the README anew, from the running quick start
	@deploy/setup build demo pictures
	@$(MAKE) --no-print-directory all
	@$(PYTHON) tests/browser/pictures.py $(abspath $(B)/lineshaft)

format: ## clang-format over all C files
	@deploy/setup lint
	git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

clean: ## remove the build folders
	rm -rf $(B) $(B)-asan $(B)-tsan $(B)-fuzz $(B)-cover

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' Makefile

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.SECONDARY:
.PHONY: all always demo run install dist test test-programs asan tsan crash chaos fuzz fuzz-programs cover \
        interop bench footprint bench-programs lint documents pictures format clean help
