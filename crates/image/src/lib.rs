//! Image reference to verified, bounded layers and one squashed view.
