"""What exists for scripts of earlier versions only: names and forms that the rooms do not need themselves."""
