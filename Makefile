# Lockstep. `make` builds build/lockstep; see `make help`.
VERSION := 0.1.0
BUILD   ?= build
PREFIX  ?= /usr/local
ifeq ($(origin CC),default)
CC      := gcc
endif
# `make V=1` shows whole commands.
Q       := $(if $(V),,@)
say      = $(if $(V),,@echo '  $(1)')
MPI     ?= ompi-c
PKGS    := $(MPI) libfyaml jansson libxxhash openblas zlib liblzma

GIT     := $(shell commit=$$(git rev-parse --short=12 HEAD 2>/dev/null) || { echo none; exit; }; \
             git diff --quiet HEAD && echo $$commit || echo $$commit+)
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion \
           -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual \
           -Wwrite-strings -Wundef -Wvla -Wformat=2 -Wnull-dereference -Wimplicit-fallthrough \
           -Wswitch-enum $(if $(filter 1,$(WERROR)),-Werror)
OPT     ?= -O3 -g
# Multiply-adds are written where they are wanted (fused.h); no -ffast-math: see docs/numerics.md.
CFLAGS  += -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) -fno-math-errno -fno-trapping-math -ffp-contract=off
CPPFLAGS += -Iinclude $(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I $(PKGS)))
LDLIBS  += $(shell pkg-config --libs $(PKGS)) -lm

# Kernel families: the same source once per instruction-set level (include/lockstep/cpu.h).
ARCH    := $(shell $(CC) -dumpmachine | cut -d- -f1)
LEVELS  := $(if $(filter x86_64,$(ARCH)),v2 v3 v4,v2)
MARCH_v2 := $(if $(filter x86_64,$(ARCH)),-march=x86-64-v2)
MARCH_v3 := -march=x86-64-v3
MARCH_v4 := -march=x86-64-v4 -mprefer-vector-width=512
ISA_DIRS := src/base/kernels src/nn/kernels src/nn/layers src/nn/losses src/opt/methods src/opt/wrappers \
	src/comm/compress

ISA_SRC := $(wildcard $(addsuffix /*.c,$(ISA_DIRS)))
SRC     := $(filter-out $(ISA_SRC) src/main.c,$(wildcard src/*/*.c src/*/*/*.c))
OBJ     := $(SRC:%.c=$(BUILD)/%.o) $(foreach l,$(LEVELS),$(ISA_SRC:%.c=$(BUILD)/%.$(l).o))
LIB     := $(BUILD)/liblockstep.a
PROGRAM := $(BUILD)/lockstep
TESTS   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/test_*.c))
FUZZ    := $(notdir $(wildcard tests/fuzz/corpus/*))
FUZZ_LIB := $(BUILD)/tests/fuzz/libtargets.a
GOLDEN_RUNNER := $(BUILD)/tests/golden/golden
GOLDEN  ?= tests/golden
FUZZ_RUNS ?= 10000000

all: $(PROGRAM)

$(PROGRAM): $(BUILD)/src/main.o $(LIB)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(LIB): $(OBJ)
	$(call say,AR $@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
define isa_rule
$(BUILD)/%.$(1).o: %.c
	$$(call say,CC $$< ($(1)))
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) $$(CFLAGS) $$(MARCH_$(1)) -DLOCKSTEP_ISA=$(1) -MMD -MP -c -o $$@ $$<
endef
$(foreach l,$(LEVELS),$(eval $(call isa_rule,$(l))))
$(BUILD)/%.o: %.c
	$(call say,CC $<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(DEFINES) -MMD -MP -c -o $@ $<
$(BUILD)/src/base/version.o: DEFINES = -DLOCKSTEP_VERSION='"$(VERSION)"' -DLOCKSTEP_GIT='"$(GIT)"' \
	-DLOCKSTEP_CFLAGS='"$(OPT)"'
$(BUILD)/src/base/version.o: $(BUILD)/git-$(GIT)
$(BUILD)/git-$(GIT):
	@mkdir -p $(BUILD) && rm -f $(BUILD)/git-* && touch $@

tests: $(TESTS) $(GOLDEN_RUNNER) $(BUILD)/tests/hosts/delay
$(TESTS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/tests/support.o $(LIB)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %targets.a,$^) $(LIB) \
	    $(shell pkg-config --libs check) $(LDLIBS)
$(BUILD)/tests/%.o: CPPFLAGS += -Itests
$(BUILD)/tests/fuzz/test_corpus: $(FUZZ_LIB)
$(FUZZ_LIB): $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/main.c %/test_corpus.c,$(wildcard tests/fuzz/*.c)))
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(GOLDEN_RUNNER): $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/golden/test_%,$(wildcard tests/golden/*.c))) $(LIB)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tests/hosts/delay: $(BUILD)/tests/hosts/delay.o
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

fuzz-programs: $(FUZZ:%=$(BUILD)/tests/fuzz/fuzz_%)
$(BUILD)/tests/fuzz/main_%.o: tests/fuzz/main.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -DFUZZ_TARGET=fuzz_$* -MMD -MP -c -o $@ $<
$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/main_%.o $(FUZZ_LIB) $(LIB)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LDLIBS)

check: $(PROGRAM) tests
	tests/run $(BUILD)
golden: $(GOLDEN_RUNNER)
	$(GOLDEN_RUNNER) $(GOLDEN)
asan: ; $(MAKE) BUILD=$(BUILD)-asan OPT="-O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer" LDFLAGS="-fsanitize=address,undefined" check
tsan: ; $(MAKE) BUILD=$(BUILD)-tsan OPT="-O1 -g -fsanitize=thread" LDFLAGS="-fsanitize=thread" check
fuzz: ; tests/fuzz/run $(BUILD) $(FUZZ_RUNS)
# src/comm as it is against SimGrid's MPI, if the package libsimgrid-dev is there (docs/scaling.md).
SIMGRID := $(BUILD)/simgrid
SIMGRID_SRC := $(filter-out $(addprefix src/comm/,settings.c links.c compress.c),$(wildcard src/comm/*.c src/comm/collectives/*.c tests/simgrid/*.c)) \
	$(addprefix src/base/,error.c log.c memory.c lanes.c layout.c random.c text.c clock.c timeline.c)
SIMGRID_WRAP := plan_memory_init plan_place plan_copies plan_adds comm_relax hosts_learn \
	MPI_Comm_dup MPI_Comm_split MPI_Comm_free
comma   := ,
simgrid:
	@command -v smpicc >/dev/null || { echo 'simgrid: skipped: smpicc (libsimgrid-dev) not found'; exit 0; }; \
	$(MAKE) --no-print-directory $(SIMGRID)/reduce && tests/simgrid/simulate $(SIMGRID)/reduce
$(SIMGRID)/reduce: $(SIMGRID_SRC:%.c=$(SIMGRID)/%.o)
	$(call say,LD $@)
	$(Q)smpicc -o $@ $^ $(addprefix -Wl$(comma)--wrap=,$(SIMGRID_WRAP)) -lxxhash -ljansson
$(SIMGRID)/%.o: %.c
	$(call say,SMPICC $<)
	@mkdir -p $(@D)
	$(Q)smpicc -Iinclude $(CFLAGS) -fPIC -DSMPI_NO_OVERRIDE_MALLOC -MMD -MP -c -o $@ $<
lint: ; tests/lint
format: ; clang-format -i $$(git ls-files '*.c' '*.h')
docs: $(PROGRAM)
	$(PROGRAM) list --markdown > docs/options.md
	$(PROGRAM) list optimizers --markdown > $(BUILD)/costs.md
	sed -i -e '/^<!-- costs/,/^<!-- end/{//!d}' -e '/^<!-- costs/r $(BUILD)/costs.md' docs/optimizers.md
install: $(PROGRAM)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/lockstep $(DESTDIR)$(PREFIX)/share/doc/lockstep
	install -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/lockstep
	cp -r configs $(DESTDIR)$(PREFIX)/share/lockstep/
	install -m 644 README.md docs/*.md docs/*.svg $(DESTDIR)$(PREFIX)/share/doc/lockstep/
clean: ; rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz
help:
	@echo 'make [all] check golden [GOLDEN=DIR] asan tsan fuzz [FUZZ_RUNS=N] simgrid lint format docs install [PREFIX=] clean'
.PHONY: all tests fuzz-programs check golden asan tsan fuzz simgrid lint format docs install clean help
.PRECIOUS: %.o
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
