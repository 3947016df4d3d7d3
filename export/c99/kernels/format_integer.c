static inline int32_t units_FORMAT(X_T code)
{
    return code;
}
