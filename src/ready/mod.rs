//! One kind a file: object -> ready, waiting or failed, with the cause. Pure; the generation comes first.
