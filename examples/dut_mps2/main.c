/* A firmware that speaks MLPerf Tiny's protocol on a bare Cortex-M: Arm's MPS2 boards, their first UART and timer.
   -DNETWORK_DUT='"digits_dut.h"' and '-DNETWORK(x)=digits_dut_##x' name what `edgemill package --form dut` wrote.
   For another board change what stands between the two lines; README.md builds it and runs it in QEMU. */
#include <stddef.h>
#include <stdint.h>

#include NETWORK_DUT

/* ---- the board ---- */
#define CLOCK_MHZ 25u
static volatile uint32_t *const uart = (volatile uint32_t *)0x40004000u;  /* data, state, control, interrupts, divider */
static volatile uint32_t *const timer = (volatile uint32_t *)0x40000000u; /* control, value, reload, interrupts */
enum { DATA = 0, STATE = 1, CONTROL = 2, DIVIDER = 4 };
enum { TIMER_CONTROL = 0, VALUE = 1, RELOAD = 2 };
enum { SEND_FULL = 1, RECEIVE_FULL = 2, SEND_ON = 1, RECEIVE_ON = 2, TIMER_ON = 1 };

static void start_board(void)
{
    uart[DIVIDER] = CLOCK_MHZ * 1000000u / 115200u;
    uart[CONTROL] = SEND_ON | RECEIVE_ON;
    timer[RELOAD] = 0xffffffffu;
    timer[VALUE] = 0xffffffffu;
    timer[TIMER_CONTROL] = TIMER_ON;
}

/* The timer counts down and wraps after 171 s: whatever lasts longer than that between two calls is not seen. */
static uint64_t ticks(void)
{
    static uint64_t total;
    static uint32_t last = 0xffffffffu;
    const uint32_t now = timer[VALUE];
    total += last - now;
    last = now;
    return total;
}

static void send(char byte)
{
    while (uart[STATE] & SEND_FULL) {
    }
    uart[DATA] = (uint8_t)byte;
}

static char receive(void)
{
    while (!(uart[STATE] & RECEIVE_FULL)) {
    }
    return (char)uart[DATA];
}
/* ---- end of the board ---- */

void NETWORK(put)(const char *text)
{
    while (*text != '\0') {
        send(*text++);
    }
}

uint32_t NETWORK(micros)(void)
{
    return (uint32_t)(ticks() / CLOCK_MHZ);
}

void NETWORK(edge)(void)
{
    /* Energy mode: pull a pin low for at least 1 us here. */
}

int main(void)
{
    start_board();
    NETWORK(start)();
    for (;;) {
        NETWORK(byte)(receive());
    }
}

extern uint32_t _sidata[], _sdata[], _edata[], _sbss[], _ebss[], _estack[];

void reset(void);
void reset(void)
{
    uint32_t *to;
    const uint32_t *from = _sidata;
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* without it the first floating-point instruction faults */
#endif
    for (to = _sdata; to < _edata; to++) {
        *to = *from++;
    }
    for (to = _sbss; to < _ebss; to++) {
        *to = 0;
    }
    (void)main();
}

static void fault(void)
{
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors = {_estack, {reset, fault, fault, fault, fault, fault}};
