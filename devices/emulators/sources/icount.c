/* Instruction counter for QEMU (TCG plugin API version 1).
 *
 * Options: begin=ADDR, end=ADDR (bare metal) or mark=SYSCALL_NR (user mode); step=ADDR, resume=ADDR (what lies between
 * them belongs to no step); mem=1 also counts loads and stores; out=FILE (default stderr).
 * Each marker prints one line, and so does the end of the program:
 *   begin|end|mark|step|resume|total  INSTRUCTIONS  SINCE_LAST_LINE  LOADS  STORES
 * QEMU's header is not packaged, so the few declarations that are needed stand here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef struct {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    union {
        struct {
            int smp_vcpus, max_vcpus;
        } system;
    };
} plugin_info;

enum { INLINE_ADD_U64 = 0, NO_REGISTERS = 0, READS_AND_WRITES = 3 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned, uint32_t, uint64_t, void *), int,
                                      int, void *);
bool qemu_plugin_mem_is_store(uint32_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id,
                                          void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                                   uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

EXPORT int qemu_plugin_version = 1;

static uint64_t instructions, last, loads, stores;
static struct {
    const char *option, *name;
    uint64_t address;
} markers[] = {{"begin=", "begin", UINT64_MAX}, {"end=", "end", UINT64_MAX}, {"step=", "step", UINT64_MAX},
               {"resume=", "resume", UINT64_MAX}};
enum { MARKERS = sizeof markers / sizeof markers[0] };
static int64_t mark_number = -1;
static bool count_memory;
static FILE *out;

static void print(const char *what) {
    fprintf(out, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", what, instructions, instructions - last,
            loads, stores);
    fflush(out);
    last = instructions;
}

static void on_marker(unsigned cpu, void *what) {
    (void)cpu;
    print(what);
}

/* The inline form filters reads and writes wrongly in QEMU 7.2, so memory is counted by a call. */
static void on_memory(unsigned cpu, uint32_t info, uint64_t address, void *data) {
    (void)cpu, (void)address, (void)data;
    if (qemu_plugin_mem_is_store(info)) stores++;
    else loads++;
}

static void on_syscall(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                       uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == mark_number) print("mark");
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, &instructions, 1);
        for (int m = 0; m < MARKERS; m++)
            if (address == markers[m].address)
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, NO_REGISTERS, (void *)markers[m].name);
        if (count_memory)
            qemu_plugin_register_vcpu_mem_cb(insn, on_memory, NO_REGISTERS, READS_AND_WRITES, NULL);
    }
}

static void at_end(plugin_id id, void *data) {
    (void)id, (void)data;
    print("total");
}

static bool set_option(const char *option) {
    for (int m = 0; m < MARKERS; m++) {
        size_t length = strlen(markers[m].option);
        if (strncmp(option, markers[m].option, length)) continue;
        markers[m].address = strtoull(option + length, NULL, 0);
        return true;
    }
    if (!strncmp(option, "mark=", 5)) mark_number = strtoll(option + 5, NULL, 0);
    else if (!strncmp(option, "mem=", 4)) count_memory = option[4] == '1';
    else if (!strncmp(option, "out=", 4)) out = fopen(option + 4, "w");
    else return false;
    return out != NULL;
}

EXPORT int qemu_plugin_install(plugin_id id, const plugin_info *info, int argc, char **argv) {
    out = stderr;
    for (int i = 0; i < argc; i++) {
        if (!set_option(argv[i])) {
            fprintf(stderr, "icount: cannot use option '%s'\n", argv[i]);
            return 1;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    if (!info->system_emulation) qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, at_end, NULL);
    return 0;
}
