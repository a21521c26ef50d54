package main

import "strings"

// step is a piece of SQL and what it must cause, each as inbox boils it down.
type step struct {
	title string
	sql   []string
	want  []string
}

// triggers are the three examples of the API's documentation, with the addresses of
// this machine in them.
func triggers(url string, kafka bool) []string {
	queues := `
  "msg_broker_queues": [
    {
      "name": "my-msg-broker-config",
      "parameters": {"product_id": "{{ myapp.utils.get_product_id }}"},
      "timeout_secs": 5.75
    },
    {
      "name": "my-other-msg-broker-config",
      "parameters": {"sale_id": "{{ myapp.utils.get_sale_id }}"}
    }
  ],`
	if !kafka {
		queues = ""
	}
	examples := []string{`{
  "config_signals": [{"signal": "post_save"}, {"signal": "post_delete"}],
  "content_types": [{"app_label": "myapp", "model_name": "Customer"}],
  "webhooks": [
    {
      "url": "URL/customers",
      "http_method": "POST",
      "headers": {"Authorization": "Bearer {{ myapp.utils.get_token }}"},
      "timeout_secs": 10.0
    }
  ],
  "active": true
}`, `{
  "config_signals": [{"signal": "post_save"}],
  "content_types": [
    {"app_label": "myapp", "model_name": "Product"},
    {"app_label": "myapp", "model_name": "Sale"}
  ],
  "webhooks": [
    {
      "url": "URL/one",
      "http_method": "POST",
      "headers": {"Authorization": "Bearer {{ myapp.utils.get_token }}"},
      "timeout_secs": 2.25
    },
    {
      "url": "URL/other",
      "http_method": "POST",
      "headers": {"Authorization": "Bearer {{ myapp.utils.get_token }}"}
    }
  ],QUEUES
  "active": true
}`, `{
  "config_signals": [{"signal": "post_save"}],
  "content_types": [{"app_label": "myapp", "model_name": "Sale"}],
  "webhooks": [
    {
      "url": "URL/new-sale",
      "http_method": "POST",
      "headers": {"Authorization": "Bearer {{ myapp.utils.get_token }}"},
      "timeout_secs": 12.25
    }
  ],
  "active": true,
  "payload": {
    "action": "new_sale",
    "customer_name": "{{ instance.customer.name }}",
    "product_name": "{{ instance.product.name }}"
  }
}`}
	r := strings.NewReplacer("URL", url, "QUEUES", queues)
	for i := range examples {
		examples[i] = r.Replace(examples[i])
	}
	return examples
}

// scenario is what is written, and what must follow from it.
func scenario(kafka bool) []step {
	everywhere := func(event string) []string { // the destinations of example 2
		out := []string{"POST /one " + event, "POST /other " + event}
		if kafka {
			out = append(out, "kafka demo-products "+event+" product_id=a-product", "kafka demo-sales "+event+" sale_id=a-sale")
		}
		return out
	}
	const newSale = `POST /new-sale {"action":"new_sale","customer_name":"Ada O'Brien","product_name":"Tea"}`
	join := func(lists ...[]string) []string {
		var all []string
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	return []step{
		{
			"A new customer",
			[]string{"INSERT INTO myapp_customer (name, email) VALUES ('Ada O''Brien', 'ada@example.com')"},
			[]string{"POST /customers post_save insert Customer Ada O'Brien"},
		},
		{
			"Two products in one statement",
			[]string{"INSERT INTO myapp_product (name, description) VALUES ('Tea', 'green'), ('Cup', 'blue')"},
			join(everywhere("post_save insert Product Tea"), everywhere("post_save insert Product Cup")),
		},
		{
			"A sale, corrected in the same transaction: two triggers fire, for both changes",
			[]string{
				"BEGIN", "INSERT INTO myapp_sale (customer_id, product_id, quantity) VALUES (1, 1, 2)",
				"UPDATE myapp_sale SET quantity = 3", "COMMIT",
			},
			join(everywhere("post_save insert Sale quantity 2"), everywhere("post_save update Sale quantity 3"), []string{newSale, newSale}),
		},
		{
			"Rolled back: nothing fires",
			[]string{"BEGIN", "INSERT INTO myapp_customer (name, email) VALUES ('Nobody', 'n@example.com')", "ROLLBACK"},
			nil,
		},
		{
			"A savepoint: only what is committed fires",
			[]string{
				"BEGIN", "INSERT INTO myapp_customer (name, email) VALUES ('Grace', 'g@example.com')", "SAVEPOINT s",
				"INSERT INTO myapp_customer (name, email) VALUES ('Ghost', 'x@example.com')", "ROLLBACK TO SAVEPOINT s", "COMMIT",
			},
			[]string{"POST /customers post_save insert Customer Grace"},
		},
		{
			"An update",
			[]string{"UPDATE myapp_customer SET email = 'grace@example.com' WHERE name = 'Grace'"},
			[]string{"POST /customers post_save update Customer Grace"},
		},
		{
			"A deletion",
			[]string{"DELETE FROM myapp_customer WHERE name = 'Grace'"},
			[]string{"POST /customers post_delete delete Customer id 3"},
		},
	}
}
