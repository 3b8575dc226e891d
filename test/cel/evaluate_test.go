package cel_test

import (
	"fmt"
	"strconv"
	"strings"

	celgo "github.com/google/cel-go/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// programs are compiled expressions, by their text.
var programs = map[string]celgo.Program{}

var celEnvironment = func() *celgo.Env {
	base, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Env(environment.StoredExpressions)
	must(err)
	env, err := base.Extend(celgo.Variable("self", celgo.DynType))
	must(err)
	return env
}()

// evaluate an expression of the CRDs with the API server's own library. An
// error, as of a timestamp that does not exist, is returned for what it is.
func evaluate(expression string, self any) (any, error) {
	program, known := programs[expression]
	if !known {
		ast, issues := celEnvironment.Compile(expression)
		must(issues.Err())
		var err error
		program, err = celEnvironment.Program(ast, celgo.EvalOptions(celgo.OptOptimize))
		must(err)
		programs[expression] = program
	}
	result, _, err := program.Eval(map[string]any{"self": escaped(self)})
	if err != nil {
		return nil, err
	}
	return result.Value(), nil
}

// escaped is a value with its fields as CEL calls them: namespace is a reserved word.
func escaped(value any) any {
	switch v := value.(type) {
	case map[string]any:
		result := make(map[string]any, len(v))
		for name, field := range v {
			if name == "namespace" {
				name = "__namespace__"
			}
			result[name] = escaped(field)
		}
		return result
	case []any:
		result := make([]any, len(v))
		for i := range v {
			result[i] = escaped(v[i])
		}
		return result
	}
	return value
}

// legal says whether the rules of a schema accept a value.
func legal(s *schema, value any) bool {
	for _, rule := range s.XValidations {
		if accepted, err := evaluate(rule.Rule, value); err != nil || accepted != true {
			return false
		}
	}
	return true
}

// budget is a rule that bounds what a list weighs in bytes.
type budget struct {
	weight string // the expression
	limit  int64
}

// budgetOf a list: the rule whose message says that its entries together must
// not exceed something.
func budgetOf(s *schema) (budget, bool) {
	for _, rule := range s.XValidations {
		if !strings.Contains(rule.Message, "together must not exceed") {
			continue
		}
		weight, limit, _ := strings.Cut(rule.Rule, " <= ")
		bytes, err := strconv.ParseInt(limit, 10, 64)
		must(err)
		if !strings.Contains(rule.Message, fmt.Sprintf("exceed %d KiB;", bytes>>10)) {
			panic(fmt.Sprintf("the limit is %d bytes, and the message says %q", bytes, rule.Message))
		}
		return budget{weight: weight, limit: bytes}, true
	}
	return budget{}, false
}

// of is what a list weighs.
func (b budget) of(list []any) int64 {
	weight, err := evaluate(b.weight, list)
	must(err)
	return weight.(int64)
}
