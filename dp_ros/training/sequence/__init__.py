"""Training of sequence models: samples with rewards and returns, the loss, and the export."""
