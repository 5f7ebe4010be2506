# The formula of the release archive; `make dist` fills in the address, the checksum and the version.
class ClawSessions < Formula
  desc "Keeps the session stores of an OpenClaw gateway healthy"
  url "@URL@"
  version "@VERSION@"
  sha256 "@SHA256@"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on arch: :x86_64
  depends_on :linux

  def install
    bin.install "claw-sessions"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/claw-sessions.bash" => "claw-sessions"
    zsh_completion.install "completions/_claw-sessions"
    fish_completion.install "completions/claw-sessions.fish"
    doc.install "README.md", "CHANGELOG.md", "THIRD-PARTY-LICENSES", "claw-sessions.cdx.json", "docs"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/claw-sessions --version")
    (testpath/"state/agents/main/sessions").mkpath
    (testpath/"state/agents/main/sessions/sessions.json").write "{}"
    system bin/"claw-sessions", "scan", "--check", "--state-dir", testpath/"state"
  end
end
