/* Measures one model on a Linux board: self-test, warm-up, windows of queries; one JSON record a line on stdout.
   Needs nothing on the board: link it statically. */
#include "model.h"
#include "records.h"
#include "sensors.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

enum { PROTOCOL = 2, ALIGNMENT = 64 };

typedef struct {
    uint64_t windows, window_ns, warmup_ns, idle_ns, query, most_queries, limit_s, sensor_ns, least_samples;
    const char *vectors;
} options_t;

typedef struct {
    unsigned char *inputs, *outputs, *made;
    size_t count;
} vectors_t;

typedef struct {
    uint64_t t0_ns, t1_ns, *samples_ns;
    size_t count;
} window_t;

static uint64_t number(const char *text, const char *name)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-') {
        fprintf(stderr, "runner: --%s takes a whole number, not '%s'\n", name, text);
        exit(EXIT_USAGE);
    }
    return value;
}

static options_t parse(int argc, char **argv)
{
    options_t o = {.windows = 10, .window_ns = 200000000, .warmup_ns = 300000000, .query = 1, .most_queries = 5000,
                   .limit_s = 300, .sensor_ns = 10000000, .vectors = "vectors.bin"};
    static const struct option known[] = {
        {"windows", 1, NULL, 0}, {"window-ns", 1, NULL, 1}, {"warmup-ns", 1, NULL, 2}, {"idle-ns", 1, NULL, 3},
        {"query", 1, NULL, 4}, {"most-queries", 1, NULL, 5}, {"limit-s", 1, NULL, 6}, {"sensor-ns", 1, NULL, 7},
        {"least-samples", 1, NULL, 8}, {"vectors", 1, NULL, 9}, {"sensor", 1, NULL, 10}, {NULL, 0, NULL, 0},
    };
    uint64_t *const values[] = {&o.windows, &o.window_ns, &o.warmup_ns, &o.idle_ns,
                                &o.query, &o.most_queries, &o.limit_s, &o.sensor_ns, &o.least_samples};
    int found, at = 0;
    while ((found = getopt_long(argc, argv, "", known, &at)) != -1) {
        if (found >= 0 && found < 9) {
            *values[found] = number(optarg, known[at].name);
        } else if (found == 9) {
            o.vectors = optarg;
        } else if (found == 10) {
            sensors_add(optarg);
        } else {
            exit(EXIT_USAGE);
        }
    }
    if (optind < argc || !o.windows || !o.most_queries || !o.limit_s) {
        fputs("runner: an argument too many, or a 0 where nothing would be measured\n", stderr);
        exit(EXIT_USAGE);
    }
    return o;
}

static unsigned char *aligned(size_t bytes)
{
    void *memory = NULL;
    const size_t whole = (bytes + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    if (posix_memalign(&memory, ALIGNMENT, whole) != 0) {
        fail("the board has too little memory for the test vectors");
    }
    memset(memory, 0, whole);
    return memory;
}

/* All inputs, then all outputs, as raw codes in the order of C memory. */
static vectors_t load(const char *path)
{
    const size_t in = model_input_bytes(), out = model_output_bytes();
    FILE *file = fopen(path, "rb");
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        size = ftell(file);
    }
    if (size <= 0 || (size_t)size % (in + out) != 0) {
        fail("the file of test vectors cannot be read, or does not fit the model");
    }
    vectors_t v = {.count = (size_t)size / (in + out), .made = aligned(out)};
    v.inputs = aligned(v.count * in);
    v.outputs = aligned(v.count * out);
    rewind(file);
    if (fread(v.inputs, in, v.count, file) != v.count || fread(v.outputs, out, v.count, file) != v.count) {
        fail("the file of test vectors cannot be read");
    }
    fclose(file);
    return v;
}

static size_t best(const void *output)
{
    size_t found = 0;
    for (size_t i = 1; i < model_outputs(); i++) {
        if (model_order(output, i) > model_order(output, found)) {
            found = i;
        }
    }
    return found;
}

static void self_test(const vectors_t *v, unsigned char *input)
{
    const size_t in = model_input_bytes(), out = model_output_bytes();
    uint64_t equal = 0, top1 = 0, steps = 0;
    for (size_t i = 0; i < v->count; i++) {
        const unsigned char *expected = v->outputs + i * out;
        /* An output that is never written must not pass: start from codes that are all wrong. */
        for (size_t byte = 0; byte < out; byte++) {
            v->made[byte] = (unsigned char)~expected[byte];
        }
        memcpy(input, v->inputs + i * in, in);
        model_infer(input, v->made);
        equal += memcmp(v->made, expected, out) == 0;
        top1 += best(v->made) == best(expected);
        for (size_t code = 0; code < model_outputs(); code++) {
            const long off = labs(model_order(v->made, code) - model_order(expected, code));
            steps = (uint64_t)off > steps ? (uint64_t)off : steps;
        }
    }
    memcpy(input, v->inputs, in);
    record_begin("self_test");
    record_number("vectors", v->count);
    record_number("codes_equal", equal);
    record_number("top1_equal", top1);
    record_number("max_steps", steps);
    record_end();
}

/* Time single queries until `length_ns` is over, at least one. */
static void run_window(window_t *w, uint64_t length_ns, uint64_t most, uint64_t query, const void *input, void *output)
{
    w->count = 0;
    w->t0_ns = w->t1_ns = now_ns();
    const uint64_t stop = w->t0_ns + length_ns;
    while ((w->t1_ns < stop && w->count < most) || !w->count) {
        const uint64_t begin = now_ns();
        for (uint64_t i = 0; i < query; i++) {
            model_infer(input, output);
        }
        w->t1_ns = now_ns();
        w->samples_ns[w->count++] = w->t1_ns - begin;
    }
}

/* Inferences for `warmup_ns`; returns their mean duration. */
static uint64_t warm_up(const options_t *o, window_t *w, uint64_t open_ns, const void *input, void *output)
{
    run_window(w, 0, 1, 1, input, output);
    const uint64_t first = w->samples_ns[0];
    uint64_t total = first, runs = 1;
    while (total < o->warmup_ns) {
        run_window(w, o->warmup_ns - total, o->most_queries, 1, input, output);
        for (size_t i = 0; i < w->count; i++) {
            total += w->samples_ns[i];
        }
        runs += w->count;
    }
    record_begin("warm");
    record_text("side", "a");
    record_number("open_ns", open_ns);
    record_number("first_ns", first);
    record_number("total_ns", total);
    record_number("runs", runs);
    record_end();
    return total / runs;
}

static void mark(const char *name)
{
    record_begin("mark");
    record_text("name", name);
    record_number("t_ns", now_ns());
    record_end();
}

/* The board rests while its sensors are read: what it takes when idle. */
static void rest(uint64_t length_ns)
{
    struct timespec left = {(time_t)(length_ns / 1000000000u), (long)(length_ns % 1000000000u)};
    mark("idle-begin");
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    mark("idle-end");
}

static void write_window(uint64_t index, uint64_t query, const window_t *w)
{
    record_begin("window");
    record_number("i", index);
    record_text("side", "a");
    record_number("t0_ns", w->t0_ns);
    record_number("t1_ns", w->t1_ns);
    record_number("samples_per_query", query);
    record_numbers("samples_ns", w->samples_ns, w->count);
    record_end();
}

static void caps(void)
{
    struct utsname system;
    if (uname(&system) != 0) {
        fail("the system does not say what it is");
    }
    const char *const pairs[] = {"compiler", __VERSION__, "kernel", system.release, "machine", system.machine};
    record_begin("caps");
    record_text("runtime", model_runtime());
    record_versions(pairs, 3);
    record_end();
}

int main(int argc, char **argv)
{
    options_t o = parse(argc, argv);
    alarm((unsigned)o.limit_s);
    record_begin("hello");
    record_number("protocol", PROTOCOL);
    record_text("runner", "c");
    record_number("pid", (uint64_t)getpid());
    record_end();
    const uint64_t begin = now_ns();
    const char *reason = model_open();
    const uint64_t open_ns = now_ns() - begin;
    if (reason) {
        fail(reason);
    }
    caps();
    const vectors_t vectors = load(o.vectors);
    unsigned char *input = aligned(model_input_bytes());
    self_test(&vectors, input);
    window_t window = {.samples_ns = reserve(o.most_queries, sizeof(uint64_t))};
    sensors_start(o.sensor_ns);
    if (o.idle_ns) {
        rest(o.idle_ns);
    }
    const uint64_t mean_ns = warm_up(&o, &window, open_ns, input, vectors.made);
    /* One query with all samples: as many as fill a window. */
    const int offline = o.query == 0;
    const uint64_t fitting = mean_ns ? (o.window_ns + mean_ns / 2) / mean_ns : 1;
    const uint64_t query = !offline ? o.query : fitting ? fitting : 1;
    uint64_t count = 0, samples = 0;
    while (count < o.windows || samples < o.least_samples) {
        run_window(&window, o.window_ns, offline ? 1 : o.most_queries, query, input, vectors.made);
        samples += window.count * query;
        write_window(count++, query, &window);
        sensors_flush();
    }
    sensors_stop();
    sensors_flush();
    record_begin("end");
    record_number("windows", count);
    record_end();
    return 0;
}
