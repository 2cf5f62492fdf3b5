package io.github.loomtorch.torch.cuda;

/** The kinds of work in a step. */
enum StepPart {
    EMBEDDING,
    NORM,
    QKV,
    ATTENTION,
    PROJECTION,
    INNER,
    OUTER,
    HEAD,
    SAMPLING
}
