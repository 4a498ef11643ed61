"""Sources that need no files of others: conformers of listed molecules, synthetic and shipped backbones."""
