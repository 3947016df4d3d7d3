static const UNIT_T table_FORMAT[SIZE] = {
VALUES
};

static inline UNIT_T units_FORMAT(X_T code)
{
    return table_FORMAT[code & (SIZE - 1)];
}
