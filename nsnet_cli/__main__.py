from nsnet_cli.cli import main

main()
