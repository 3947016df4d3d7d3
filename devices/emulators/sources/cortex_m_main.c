/* Start-up, semihosting and main of a generated part on a bare Cortex-M: no C library start files. */
#include "edgemill_runner.h"

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, STOPPED_BY_APPLICATION = 0x20026, FAULT_EXIT_CODE = 70 };

extern uint32_t _sidata[], _sdata[], _edata[], _sbss[], _ebss[], _estack[];
extern const uint8_t edgemill_inputs[];
extern const uint32_t edgemill_image_count;

static long semihost(long operation, const void *parameter) {
    register long r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = parameter;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

uint32_t *stack_end(void) { return _ebss; }

void put(const char *text) { semihost(SYS_WRITE0, text); }

static void __attribute__((noreturn)) leave(uint32_t code) {
    const uint32_t block[2] = {STOPPED_BY_APPLICATION, code};
    for (;;) semihost(SYS_EXIT_EXTENDED, block);
}

void edgemill_begin(void);
void edgemill_end(void);
void __attribute__((noipa)) edgemill_begin(void) { __asm__ volatile("nop"); }
void __attribute__((noipa)) edgemill_end(void) { __asm__ volatile("nop"); }

void __attribute__((noipa)) region(void (*work)(void)) {
    edgemill_begin();
    work();
    edgemill_end();
}

/* Without this an error would spin for ever; with it the emulator stops and the host says what happened. */
static void fault(void) {
    put("FAULT\n");
    leave(FAULT_EXIT_CODE);
}

void reset(void);
void reset(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: the first FP instruction faults without it */
    __asm__ volatile("dsb\n isb");
#endif
    memcpy(_sdata, _sidata, (size_t)((char *)_edata - (char *)_sdata));
    memset(_sbss, 0, (size_t)((char *)_ebss - (char *)_sbss));
    for (uint32_t i = 0; i < edgemill_image_count; i++)
        run_image((int)i, edgemill_inputs + i * RUNNER_INPUT_BYTES);
    leave(0);
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))_estack, reset, fault, fault, fault, fault, fault,
};
