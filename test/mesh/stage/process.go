package stage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// process is a program that runs as long as the stage.
type process struct {
	name, log string
	done      chan struct{}
	cmd       *exec.Cmd
}

// run starts a program with its output in a file of the stage's logs.
func (s *Stage) run(name string, cmd *exec.Cmd) error {
	p := &process{name: name, log: filepath.Join(s.logs, name+".log"), done: make(chan struct{}), cmd: cmd}
	out, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }() // the program has its own
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = cmd.Wait() // its outcome is in cmd.ProcessState
		close(p.done)
	}()
	s.processes = append(s.processes, p)
	return nil
}

// alive is nil while the program runs, else an error with the end of its log.
func (p *process) alive() error {
	select {
	case <-p.done:
		log, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		return fmt.Errorf("%s ended: %s\n%s", p.name, p.cmd.ProcessState, log[max(0, len(log)-3000):])
	default:
		return nil
	}
}
