/* Products minus their zero points, requantised. The second factor has `inner` codes that serve every pixel. */
static void NAME(const A_T *a, const B_T *b, Y_T *y, int32_t pixels, int32_t inner, int32_t zero_a, int32_t zero_b,
                 const struct requant *r)
{
    /* A local copy: codes are characters, so the compiler must think that storing one changes what pointers show. */
    const struct requant rule = *r;
    int32_t i, c;
    for (i = 0; i < pixels; i++) {
        for (c = 0; c < inner; c++) {
            const ACC_T acc = ((ACC_T)A_UNITS(*a++) - zero_a) * ((ACC_T)B_UNITS(b[c]) - zero_b);
            *y++ = REQUANT(acc, &rule, 0);
        }
    }
}
