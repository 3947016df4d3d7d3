/* Copy a block of elements. */
static void NAME(const X_T *restrict x, X_T *restrict y, const struct block *p)
{
    int32_t i, j, k;
    for (i = 0; i < p->extent[0]; i++) {
        for (j = 0; j < p->extent[1]; j++) {
            const X_T *from = x + i * p->from[0] + j * p->from[1];
            X_T *to = y + i * p->to[0] + j * p->to[1];
            for (k = 0; k < p->extent[2]; k++) {
                to[k * p->to[2]] = from[k * p->from[2]];
            }
        }
    }
}
