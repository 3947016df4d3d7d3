/* As the sum of any formats, with vectors where there are any. */
static void NAME(const int8_t *a, const int8_t *b, int8_t *y, int32_t count, const struct addends *p,
                 const struct requant *r)
{
    int32_t i = 0;
#if defined(VECTOR)
    i = add_vector(a, b, y, count, p, r);
#endif
    if (i < count) {
        REST(a + i, b + i, y + i, count - i, p, r);
    }
}
