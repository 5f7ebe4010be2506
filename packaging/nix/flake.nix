# nix build '.?dir=packaging/nix', at the top of the sources.
{
  description = "Keeps the session stores of an OpenClaw gateway healthy";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      each = nixpkgs.lib.genAttrs systems;
      cargo = (nixpkgs.lib.importTOML ../../Cargo.toml).package;
    in
    {
      packages = each (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          default = pkgs.rustPlatform.buildRustPackage {
            pname = cargo.name;
            inherit (cargo) version;
            src = nixpkgs.lib.cleanSource ../..;
            cargoLock.lockFile = ../../Cargo.lock;
            nativeBuildInputs = [ pkgs.installShellFiles ];
            # They kill the tool at chosen system calls and mount file systems: `make test`.
            doCheck = false;
            postInstall = ''
              $out/bin/claw-sessions man man
              installManPage man/*.1
              for shell in bash zsh fish; do
                $out/bin/claw-sessions completions $shell > claw-sessions.$shell
              done
              installShellCompletion claw-sessions.{bash,zsh,fish}
            '';
            meta = {
              inherit (cargo) description;
              license = with nixpkgs.lib.licenses; [
                mit
                asl20
              ];
              mainProgram = cargo.name;
              platforms = systems;
            };
          };
        }
      );
    };
}
