"""`python -m trilemma` is the command line."""

from trilemma.cli import main

if __name__ == "__main__":
    main()
