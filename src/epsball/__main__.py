"""`python -m epsball` is `epsball`."""

from epsball.cli.app import main

if __name__ == "__main__":
    main()
