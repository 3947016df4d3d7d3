/* The taps of a window that lie inside the image, and the steps between them in elements. */
struct taps {
    int32_t rows, columns;
    int32_t from_step, row_step;
    int32_t tap_step, tap_skip;
    int32_t zero;
};
